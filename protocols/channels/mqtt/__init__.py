"""MQTT as a way for bytes and messages: the connection, a channel over it, its socket."""
