"""Our own channel: a chat page in the browser, kept in our own tables.

`gateway` is the bot's side (Bot API calls); the visitor's (what the HTTP routes call) is `web.visitor`. Both write in
one transaction and then wake the open pages through the `hub`; a page reads what it has not seen from the tables, so
nothing is lost and nothing waits in memory. How the tables keep it is in `store`.
"""
