"""Django's settings for Horizon: what docs/clients.md tells to set, and what a dashboard that lives for one test needs."""

import os
from pathlib import Path

from openstack_dashboard.settings import *  # noqa: F403
from openstack_dashboard.settings import HORIZON_CONFIG

HERE = Path(os.environ["DASHBOARD_DIRECTORY"])

DEBUG = True  # Django serves the static files itself
ALLOWED_HOSTS = ["127.0.0.1"]
SECRET_KEY = "one test's own"
COMPRESS_OFFLINE = False
SESSION_ENGINE = "django.contrib.sessions.backends.file"
SESSION_FILE_PATH = str(HERE)
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
STATIC_ROOT = str(HERE / "static")
COMPRESS_ROOT = STATIC_ROOT
LOGGING = {"version": 1, "disable_existing_loggers": True}

OPENSTACK_KEYSTONE_URL = os.environ["DASHBOARD_KEYSTONE_URL"]
# There is no network service, which the usual first page asks.
HORIZON_CONFIG["user_home"] = "/admin/instances/"
# There is no placement service either, which the page of hypervisors asks.
SHOW_RESOURCE_PROVIDER_SUMMARY = False
