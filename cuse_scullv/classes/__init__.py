"""Device classes: the kernel's interfaces that programs know, with only the device left to write.

    from cuse_scullv import cuse
    from cuse_scullv.classes import i2c

    class Eeprom(i2c.Adapter):
        def transfer(self, address, messages): ...

    cuse.serve(Eeprom("i2c-9"))

One module each, imported by its name; docs/classes.md lists them.
"""
