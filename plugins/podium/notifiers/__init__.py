"""Who is told when a task fails. Channels are connections that the settings name; the providers' hooks send."""
