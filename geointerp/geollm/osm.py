class OsmFile: pass
