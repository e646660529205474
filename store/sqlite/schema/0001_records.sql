-- The first schema. Times are milliseconds since 1970-01-01T00:00Z.

-- What is kept. Sizes and forms are checked before they come here.
CREATE TABLE records (
  id                INTEGER PRIMARY KEY,
  namespace         TEXT    NOT NULL,
  ref               TEXT    NOT NULL,
  kind              TEXT    NOT NULL,
  user              ANY     NOT NULL, -- text if it is UTF-8 without U+0000, else a blob
  version           INTEGER NOT NULL,
  revision          INTEGER NOT NULL,
  epoch             INTEGER NOT NULL,
  owner             TEXT    NOT NULL,
  created_at        INTEGER NOT NULL,
  last_accessed_at  INTEGER NOT NULL,
  idle_deadline     INTEGER NOT NULL,
  absolute_deadline INTEGER NOT NULL,
  expires_at        INTEGER GENERATED ALWAYS AS (min(idle_deadline, absolute_deadline)) VIRTUAL,
  -- Not later than expires_at. A touch moves the deadline but not this, so that
  -- no index has to follow it; the sweep moves it when it meets it.
  sweep_at          INTEGER NOT NULL,
  secret_hash       BLOB,
  previous_hash     BLOB,
  previous_until    INTEGER,
  last_op           BLOB,
  address           TEXT,
  user_agent        TEXT    NOT NULL,
  protocol_version  TEXT    NOT NULL,
  capabilities      TEXT,             -- JSON
  data              TEXT    NOT NULL, -- a JSON object
  sealed            BLOB              -- content that was encrypted before it came here
) STRICT;

CREATE UNIQUE INDEX records_by_ref ON records (namespace, ref);
CREATE INDEX records_by_user ON records (namespace, user, kind, created_at, ref) WHERE user <> '';
CREATE INDEX records_by_sweep ON records (namespace, kind, sweep_at);

-- How many records there are, expired ones too, so that a limit need not count.
CREATE TABLE totals (
  namespace TEXT    NOT NULL,
  kind      TEXT    NOT NULL,
  stored    INTEGER NOT NULL,
  PRIMARY KEY (namespace, kind)
) STRICT, WITHOUT ROWID;

-- What is remembered of records that ended.
CREATE TABLE ended (
  namespace        TEXT    NOT NULL,
  ref              TEXT    NOT NULL,
  kind             TEXT    NOT NULL,
  user             ANY     NOT NULL,
  version          INTEGER NOT NULL,
  created_at       INTEGER NOT NULL,
  last_accessed_at INTEGER NOT NULL,
  ended_at         INTEGER NOT NULL,
  reason           TEXT    NOT NULL,
  by               TEXT    NOT NULL,
  op               BLOB,
  forget_at        INTEGER NOT NULL,
  PRIMARY KEY (namespace, ref)
) STRICT, WITHOUT ROWID;

CREATE INDEX ended_by_forget ON ended (namespace, forget_at);

-- The last few thousand writes, in the order of their commits and without
-- holes, for watches and for the read caches of other processes. The oldest
-- are trimmed.
CREATE TABLE changes (
  pos       INTEGER PRIMARY KEY,
  type      INTEGER NOT NULL, -- see changeType
  namespace TEXT    NOT NULL,
  ref       TEXT    NOT NULL,
  kind      TEXT    NOT NULL,
  version   INTEGER NOT NULL,
  revision  INTEGER NOT NULL,
  reason    TEXT    NOT NULL,
  by        TEXT    NOT NULL
) STRICT;

-- Server-sent events of records.
CREATE TABLE streams (
  id         INTEGER PRIMARY KEY,
  record     INTEGER NOT NULL, -- records.id
  name       BLOB    NOT NULL,
  first_kept INTEGER NOT NULL,
  next       INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX streams_by_name ON streams (record, name);

CREATE TABLE events (
  id       INTEGER PRIMARY KEY, -- the order of appending
  stream   INTEGER NOT NULL,    -- streams.id
  position INTEGER NOT NULL,
  added_at INTEGER NOT NULL,
  data     BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX events_by_position ON events (stream, position);

-- For people with an SQL shell. What they change is noticed by the read caches
-- and reported by watches, and what they delete is ended as by a revocation.
-- The program's own deletes write the tombstone first, and its own updates
-- raise the revision.
CREATE TRIGGER deleted_by_hand AFTER DELETE ON records
WHEN NOT EXISTS (SELECT 1 FROM ended WHERE namespace = OLD.namespace AND ref = OLD.ref)
BEGIN
  INSERT INTO ended (namespace, ref, kind, user, version, created_at, last_accessed_at,
    ended_at, reason, by, op, forget_at)
  SELECT OLD.namespace, OLD.ref, OLD.kind, OLD.user, OLD.version, OLD.created_at, OLD.last_accessed_at,
    now, 'revoked', 'sql', NULL, now + 24 * 3600000
  FROM (SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS now);
  DELETE FROM events WHERE stream IN (SELECT id FROM streams WHERE record = OLD.id);
  DELETE FROM streams WHERE record = OLD.id;
  UPDATE totals SET stored = stored - 1 WHERE namespace = OLD.namespace AND kind = OLD.kind;
  INSERT INTO changes (pos, type, namespace, ref, kind, version, revision, reason, by)
  SELECT coalesce(max(pos), 0) + 1, 4, OLD.namespace, OLD.ref, OLD.kind, OLD.version, OLD.revision, 'revoked', 'sql'
  FROM changes;
END;

CREATE TRIGGER updated_by_hand AFTER UPDATE OF version, epoch, owner,
  created_at, last_accessed_at, idle_deadline, absolute_deadline,
  secret_hash, previous_hash, previous_until, last_op,
  address, user_agent, protocol_version, capabilities, data ON records
WHEN NEW.revision = OLD.revision
BEGIN
  UPDATE records SET revision = revision + 1, sweep_at = min(sweep_at, expires_at) WHERE id = NEW.id;
  INSERT INTO changes (pos, type, namespace, ref, kind, version, revision, reason, by)
  SELECT coalesce(max(pos), 0) + 1, 2, NEW.namespace, NEW.ref, NEW.kind, NEW.version, NEW.revision + 1, '', ''
  FROM changes;
END;

CREATE VIEW sessions AS
SELECT namespace, kind, ref, user, owner, version,
       strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch')       AS created,
       strftime('%Y-%m-%dT%H:%M:%fZ', last_accessed_at / 1000.0, 'unixepoch') AS last_accessed,
       strftime('%Y-%m-%dT%H:%M:%fZ', expires_at / 1000.0, 'unixepoch')       AS expires,
       address, user_agent, protocol_version, length(data) + ifnull(length(sealed), 0) AS data_bytes
FROM records;
