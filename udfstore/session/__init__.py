"""One conversation as a state machine, each end of it: bytes go in, events come out, frames to send come out."""
