"""Maps painted by hand, as data and as pictures: how near everything is, what is where, and what is said where.

A painting is {"kind": "depth" | "segments" | "regions", "w", "h", "ops", "base"?, "background"?}: the size of the sheet
it was made on, and what was done in order. Each op is {"kind", ...} with the fields that studio.painting.clean lists;
places and sizes are in pixels of the sheet, y down. `base` is {"id", "box": [x, y, width, height]}: a finished map
under it all. Light is near: v from 0, far, to 255, near. Solids are seen straight on, in a room as deep as the sheet's
longer side. One of regions has "regions" too, [{"region", "words", "on"}] as they were added, and "softness", as
params.ControlUnit has it.
"""
