"""The payment providers: each speaks the protocol of protocol.py."""
