"""Published sets of judged steps, a file each: what their rows look like, and the trees and solutions made of them.

Each is a record of `surestep.data.datasets`, recognised by its keys (`keys`), so it is a layout for own data too.
"""
