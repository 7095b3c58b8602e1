"""How simulated meters speak over MQTT: our own form, and devices of other makers."""
