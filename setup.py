"""What is compiled; everything else about the project stands in pyproject.toml.

ALLOCATOR_LINETRACE=1 builds with bounds checks and line tracing, for coverage of the
compiled modules and for a slow run of all tests that catches what the fast build trusts.
ALLOCATOR_PROFILE=1 builds as fast code as ever, with what profilers of native code need to name
functions and lines, and writes beside each .pyx what of it became Python calls.
docs/profiling.md shows both.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import LinkError

LINETRACE = os.environ.get("ALLOCATOR_LINETRACE") == "1"
PROFILE = os.environ.get("ALLOCATOR_PROFILE") == "1"

DIRECTIVES = {
    "language_level": 3,
    "embedsignature": True,
    "binding": True,
    "boundscheck": LINETRACE,
    "wraparound": False,
    "initializedcheck": LINETRACE,
    "cdivision": True,
    "linetrace": LINETRACE,
    "profile": LINETRACE,
}
MACROS = [("CYTHON_TRACE_NOGIL", "1")] if LINETRACE else []
# -ffp-contract=off: a fused multiply-add would round shares otherwise than Python does.
COMPILE = ["-O3", "-ffp-contract=off"]
if PROFILE:
    COMPILE += ["-g", "-fno-omit-frame-pointer"]

#: Small programs, of one C file each: nothing of the agent may be in what tasks start from. Each is
#: built as `allocator-NAME` beside its source.
PROGRAMS = sorted(Path("allocator", "agent", "containers", "programs").glob("*.c"))


def extensions(room: str) -> list[Extension]:
    """One extension for each `.pyx` below a folder."""
    found = []
    for source in sorted(Path(room).rglob("*.pyx")):
        name = ".".join(source.with_suffix("").parts)
        found.append(
            Extension(name, [str(source)], define_macros=MACROS, extra_compile_args=COMPILE)
        )
    return found


def program_of(source: Path) -> Path:
    """Return what a program's source is built as."""
    return source.with_name(f"allocator-{source.stem}")


def is_of_another_kind() -> bool:
    """Tell whether the last build here was of another kind than this one, and note this one's.

    Neither Cython nor setuptools compares more than times: what the other build left would stay.
    """
    note = Path("build", "kind")
    kind = f"{LINETRACE=} {PROFILE=} CFLAGS={os.environ.get('CFLAGS')}"
    is_other = not note.exists() or note.read_text() != kind
    note.parent.mkdir(exist_ok=True)
    note.write_text(kind)
    return is_other


class Build(build_ext):
    """Builds the package; in place, for development, also what only its tests need."""

    def run(self) -> None:
        """Build the extensions, then the programs that an agent starts its tasks with."""
        super().run()
        for source in PROGRAMS:
            self.build_program(source)

    def build_program(self, source: Path) -> None:
        """Build a program, if what it is made of has changed.

        Linked statically, where the machine has what that needs: it starts faster then, and takes
        less memory.
        """
        built = Path("" if self.inplace else self.build_lib, program_of(source))
        built.parent.mkdir(parents=True, exist_ok=True)
        needed = [source, *source.parent.glob("*.h")]
        if built.exists() and all(file.stat().st_mtime < built.stat().st_mtime for file in needed):
            return
        objects = self.compiler.compile(
            [str(source)], output_dir=self.build_temp, extra_postargs=["-O2", "-std=gnu11"]
        )
        new = f"{built}.new"
        try:
            self.compiler.link_executable(objects, new, extra_postargs=["-static"])
        except LinkError:
            self.compiler.link_executable(objects, new)
        os.replace(new, built)  # the other may be running

    def get_outputs(self) -> list[str]:
        """Return what is built, for an installation to take."""
        programs = [str(Path(self.build_lib, program_of(source))) for source in PROGRAMS]
        return [*super().get_outputs(), *programs]

    def finalize_options(self) -> None:
        """Choose what is built, and have Cython write it in C."""
        found = extensions("allocator")
        if self.inplace or self.editable_mode:
            found += extensions("tests")
        if self.inplace:
            # Not where a wheel is made of whatever is there.
            self.build_lib = os.path.join("build", "in-place")
        self.distribution.ext_modules = cythonize(
            found, compiler_directives=DIRECTIVES, annotate=PROFILE, force=is_of_another_kind()
        )
        super().finalize_options()


setup(ext_modules=extensions("allocator"), cmdclass={"build_ext": Build})
