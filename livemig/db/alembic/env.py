"""alembic's environment: it runs on the connection that `livemig.db.engine.Database.upgrade` gives it."""

from alembic import context

from livemig.db.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True)

with context.begin_transaction():
    context.run_migrations()
