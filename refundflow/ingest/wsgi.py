"""The application object for a WSGI server: `gunicorn refundflow.ingest.wsgi:application`."""

from refundflow import wiring
from refundflow.ingest.app import create_app
from refundflow.observe import set_up_logs

_house = wiring.house()
set_up_logs(_house.settings.log_level, is_json=_house.settings.is_log_json)
application = create_app(_house)
