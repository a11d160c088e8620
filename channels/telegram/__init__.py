"""Telegram: the Bot API over aiohttp, by long polling or webhook.

`channel` is what the house knows; `request` is the wire, `webhook` what Telegram brings by itself.
"""
