"""The peer registry: who may enter, kept in one DynamoDB table.

Used by the operator commands and by the gateways: Python's standard library and boto3 alone.
"""
