"""The demo: a recorded incident of a real small shop, the systems it is served by, a local Slack, and the bot.

Not in the wheel. `python -m demo` runs it, `python -m demo.record` records it again.
"""
