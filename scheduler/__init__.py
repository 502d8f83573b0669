"""The scheduler process: a plain tick over short jobs.

The truth is in the database. A job asks there what is due and does it exactly once, however many schedulers run,
crash or catch up; nothing here remembers anything.
"""
