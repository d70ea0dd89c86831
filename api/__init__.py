"""The registry's operations over HTTP: what a function URL of AWS Lambda calls. Off by default."""
