"""Extensions only; everything else about the project stands in pyproject.toml.

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

#: The init of an agent's tasks: a small program, as nothing of the agent may be in it.
INIT = Path("allocator", "agent", "init.c")
INIT_PROGRAM = "allocator-init"


def extensions(room: str) -> list[Extension]:
    """One extension for each `.pyx` below a folder."""
    found = []
    for source in sorted(Path(room).rglob("*.pyx")):
        name = ".".join(source.with_suffix("").parts)
        found.append(
            Extension(name, [str(source)], define_macros=MACROS, extra_compile_args=COMPILE)
        )
    return found


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
        """Build the extensions, then the program that an agent starts its tasks with."""
        super().run()
        folder = Path("" if self.inplace else self.build_lib, INIT.parent)
        folder.mkdir(parents=True, exist_ok=True)
        objects = self.compiler.compile(
            [str(INIT)], output_dir=self.build_temp, extra_postargs=["-O2", "-std=gnu11"]
        )
        self.compiler.link_executable(objects, INIT_PROGRAM, output_dir=str(folder))

    def get_outputs(self) -> list[str]:
        """Return what is built, for an installation to take."""
        return [*super().get_outputs(), str(Path(self.build_lib, INIT.parent, INIT_PROGRAM))]

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
