"""`python -m tests.soak`; apart from what it runs, because each server's process imports the main module anew."""

if __name__ == "__main__":
    from tests.soak.soak import main

    main()
