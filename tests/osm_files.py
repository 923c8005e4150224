"""Small OpenStreetMap files, written for tests."""

import osmium
from osmium.osm import Box, Location
from osmium.osm.mutable import Node, Relation, Way


class Region:
    """Places and areas, gathered to be written."""

    def __init__(self):
        self.nodes, self.ways, self.relations = [], [], []

    def node(self, lon, lat, **tags):
        self.nodes.append(Node(id=len(self.nodes) + 1, location=(lon, lat), tags=tags))
        return len(self.nodes)

    def place(self, name, lon, lat, kind="village", **tags):
        return self.node(lon, lat, place=kind, name=name, **tags)

    def way(self, nodes, **tags):
        self.ways.append(Way(id=len(self.ways) + 1, nodes=nodes, tags=tags))
        return len(self.ways)

    def box(self, west, south, east, north, **tags):
        corners = [(west, south), (east, south), (east, north), (west, north)]
        nodes = [self.node(*corner) for corner in corners]
        return self.way([*nodes, nodes[0]], **tags)

    def area(self, name, level, outer, inner=(), **tags):
        """A boundary of ways, some of which may not be in the file."""
        members = [("w", way, "outer") for way in outer] + [("w", way, "inner") for way in inner]
        about = {"type": "boundary", "boundary": "administrative", "admin_level": str(level)}
        tags = about | {"name": name} | tags
        self.relations.append(Relation(id=len(self.relations) + 1, members=members, tags=tags))
        return len(self.relations)

    def write(self, path, box=None):
        header = osmium.io.Header()
        if box is not None:
            west, south, east, north = box
            header.add_box(Box(Location(west, south), Location(east, north)))
        with osmium.SimpleWriter(path, header=header, overwrite=True) as writer:
            for thing in (*self.nodes, *self.ways, *self.relations):
                writer.add(thing)
        return path
