"""What a host has in its file systems: directories with files, symbolic links, and the storage pools of its daemon on them."""

from __future__ import annotations

from livemig.testing import errors
from livemig.testing.storage import Directory, File, Pool, normal, pool_uuid, split


class Files:
    """Those of one host. Directories are known by their real paths."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directories: dict[str, Directory] = {}
        self.links: dict[str, str] = {}
        """Symbolic links, by their paths: the absolute paths to which they lead."""
        self.pools: dict[str, Pool] = {}

    def directory(self, path: str) -> Directory | None:
        return self.directories.get(self.real(path))

    def real(self, path: str) -> str:
        """Where a path leads by way of the host's links, as realpath(3) has it."""
        if not self.links and "//" not in path and "/." not in path:
            return normal(path)
        done, parts = "", path.split("/")
        while parts:
            part = parts.pop(0)
            if part == "..":
                done = done.rpartition("/")[0]
            elif part not in ("", "."):
                done += f"/{part}"
            if done in self.links:
                done, parts = "", [*self.links[done].split("/"), *parts]
        return done or "/"

    def entries(self, path: str) -> dict[str, File | Directory]:
        """What there is in a directory, as libvirt lists it: links are what they lead to, those that lead nowhere are not there."""
        path = self.real(path)
        names = [(split(each), each) for each in (*self.directories, *self.links)]
        found: dict[str, File | Directory | None] = {name: self.directory(each) or self.file(each) for (above, name), each in names if above == path and name}
        here = self.directories.get(path)
        return {**(here.files if here else {}), **{name: what for name, what in found.items() if what is not None}}

    def delete(self, path: str) -> None:
        """A file, a link, or a directory with nothing in it. Raises libvirt's error for one with something, or for a link to one."""
        above, name = split(path)
        path = f"{self.real(above).rstrip('/')}/{name}"
        if path in self.links and self.directory(path):
            raise errors.NOT_A_DIRECTORY(path=path)
        where = self.directories.get(self.real(above))
        if self.links.pop(path, None) or where is None or where.files.pop(name, None):
            return
        if found := self.directories.get(path):
            if found.files or any(split(each)[0] == path for each in (*self.directories, *self.links)):
                raise errors.NOT_EMPTY(path=path)
            del self.directories[path]

    def make_directory(self, path: str) -> None:
        """Have it, on the file system of the directory above it, if that is one of those there are."""
        path = self.real(path)
        if self.directory(path) is None:
            above = self.directory(split(path)[0])
            self.directories[path] = Directory(path, bool(above and above.shared), above.capacity_mib if above else 1024 * 1024)

    def hold(self, directory: Directory, pool: str | None) -> None:
        """Have a directory, and an active pool on it if one is named."""
        self.directories[directory.path] = directory
        if pool:
            self.add_pool(Pool(pool, pool_uuid(self.name, pool), directory.path, directory, lambda: self.entries(directory.path), persistent=True))

    def add_pool(self, pool: Pool) -> None:
        """Have its daemon know a pool, and what is in it."""
        pool.refresh()
        self.pools[pool.name] = pool

    def file(self, path: str) -> File | None:
        """The file at an absolute path, as this host sees it."""
        directory, name = split(self.real(path))
        found = self.directories.get(directory)
        return found.files.get(name) if found else None
