"""Nobody reaches a task of somebody else, or learns that it exists, by any of a thousand ways."""

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from tests.databases import Database
from tests.hostile.servers import serving
from tests.hostile.strangers import CURSOR_LISTS, Attempt, Names, Request, attempts, token
from tests.hostile.wire import Answer, Wire
