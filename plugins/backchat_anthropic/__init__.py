"""The provider ``anthropic``: Anthropic's messages API."""
