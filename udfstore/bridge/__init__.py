"""Kapacitor's side of the protocol: UDFs that know nothing of udfstore, under its care.

front (Kapacitor, `run`) ── Host ── Child: the UDF's process or socket
                              └──── Shelter: the way to the server, which may be away
"""
