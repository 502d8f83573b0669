"""Tips: tokens from a fan to a creator, with a message.

Tables core.tips, core.stream_totals; functions api.send_tip, api.send_tips, api.tip_stats; view api.tips. Event
``tip.sent``.
"""
