"""What plugins reach model services with: HTTP sessions, streams, failures without secrets, the options for all that.

For providers, embedders and transcribers that speak to a service over HTTP. The core itself asks nobody.
"""
