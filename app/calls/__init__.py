"""Calls of fans to creators, billed in blocks that are paid before they start.

Tables core.calls, core.call_clocks, core.call_parties, core.meter_blocks; functions api.open_call, api.accept_call,
api.decline_call, api.pause_call, api.resume_call, api.end_call, api.beat_calls, api.meter_call_block,
api.meter_due_calls, api.call_stats; views api.calls, api.call_blocks. Events ``call.ringing``, ``call.accepted``,
``call.declined``, ``call.missed``, ``call.paused``, ``call.resumed``, ``call.block_paid``, ``call.low_balance``,
``call.ended``, ``call.refund_refused``.
"""
