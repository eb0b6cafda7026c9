# gunicorn --config /etc/livemig/gunicorn.conf.py livemig.wsgi:application, with TLS of its own.
bind = "192.0.2.10:8774"
workers = 2
threads = 8
certfile = "/etc/livemig/pki/livemig.pem"
keyfile = "/etc/livemig/pki/livemig-key.pem"
# Seconds, and bytes: a client that says nothing, and lines and headers without end.
timeout = 120
keepalive = 5
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 16384
