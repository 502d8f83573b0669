"""The chats of streams: for whoever may watch, as often as the rate says, not for whom the creator has banned.

Tables core.messages, core.chat_counters; functions api.post_message, api.remove_message, api.stream_messages; view
api.messages. Events ``chat.message``, ``chat.message_removed``.
"""
