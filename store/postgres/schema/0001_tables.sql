-- The first schema. Every time is cut to the millisecond. The names
-- stand in the schema that is put in for {s}.

CREATE TABLE {s}.sessions (
  namespace         text COLLATE "C" NOT NULL,
  id                text COLLATE "C" NOT NULL, -- the ref, never a secret
  kind              text COLLATE "C" NOT NULL,
  user_id           text COLLATE "C" NOT NULL, -- escaped if it is no plain text; '' without a user
  data              jsonb       NOT NULL,      -- an object
  opaque            text,                      -- an object: values that jsonb cannot hold
  sealed            bytea,                     -- what a wrapper encrypted
  created_at        timestamptz NOT NULL,
  last_accessed     timestamptz NOT NULL,
  idle_deadline     timestamptz NOT NULL,
  absolute_deadline timestamptz NOT NULL,
  -- Not later than the earlier deadline. A touch moves that but not this, so
  -- that no index has to follow it; the sweep moves it when it meets it.
  expires_at        timestamptz NOT NULL,
  version           bigint      NOT NULL,
  revision          bigint      NOT NULL,
  epoch             bigint      NOT NULL,
  owner             text COLLATE "C" NOT NULL, -- '' for none
  secret_hash       bytea,
  previous_hash     bytea,
  previous_until    timestamptz,
  last_op           bytea,
  ip_address        inet,
  user_agent        text        NOT NULL,
  protocol_version  text        NOT NULL,
  capabilities      text,                      -- JSON as the client sent it
  user_size         integer     NOT NULL,      -- of the user before it was escaped
  meta_size         integer     NOT NULL,
  data_size         integer     NOT NULL,      -- as it was given
  PRIMARY KEY (id, namespace)
) WITH (fillfactor = 70);

-- It looks like noise: compressing it is in vain.
ALTER TABLE {s}.sessions ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- Where the server has it: a fraction of the cost of the default.
DO $$
BEGIN
  ALTER TABLE {s}.sessions ALTER COLUMN data SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
  NULL;
END
$$;

-- No index leads with the namespace, which mostly is the same in all rows: so
-- the planner never takes that alone to find a row.
CREATE INDEX idx_sessions_user_id ON {s}.sessions (user_id, namespace, kind);
CREATE INDEX idx_sessions_expires_at ON {s}.sessions (kind, namespace, expires_at);

-- What writes look at: a row without its bulk.
CREATE VIEW {s}.session_heads AS
SELECT namespace, id, kind, user_id, version, revision, epoch, owner,
       created_at, last_accessed, idle_deadline, absolute_deadline, expires_at,
       secret_hash, previous_hash, previous_until, user_size, meta_size, data_size
FROM {s}.sessions;

-- For people with an SQL shell: what is live, and until when.
CREATE VIEW {s}.live_sessions AS
SELECT namespace, kind, id, user_id, owner, version, created_at, last_accessed,
       least(idle_deadline, absolute_deadline) AS ends_at,
       ip_address, user_agent, protocol_version, data
FROM {s}.sessions
WHERE least(idle_deadline, absolute_deadline) > clock_timestamp();

-- What is remembered of records that ended.
CREATE TABLE {s}.session_ends (
  namespace     text COLLATE "C" NOT NULL,
  id            text COLLATE "C" NOT NULL,
  kind          text COLLATE "C" NOT NULL,
  user_id       text COLLATE "C" NOT NULL,
  version       bigint      NOT NULL,
  created_at    timestamptz NOT NULL,
  last_accessed timestamptz NOT NULL,
  ended_at      timestamptz NOT NULL,
  reason        text        NOT NULL,
  ended_by      text        NOT NULL,
  op            bytea,
  forget_at     timestamptz NOT NULL,
  PRIMARY KEY (id, namespace)
);

CREATE INDEX idx_session_ends_forget_at ON {s}.session_ends (namespace, forget_at);

-- How many rows of sessions there are, so that a total limit need not count.
-- Each connection adds to one slot: those that write at once do not wait for
-- one another.
CREATE TABLE {s}.session_totals (
  namespace text COLLATE "C" NOT NULL,
  kind      text COLLATE "C" NOT NULL,
  slot      integer NOT NULL,
  stored    bigint  NOT NULL,
  PRIMARY KEY (namespace, kind, slot)
) WITH (fillfactor = 50);

-- Server-sent events of records. They are written only while the row of their
-- record is locked.
CREATE TABLE {s}.session_streams (
  namespace  text COLLATE "C" NOT NULL,
  id         text COLLATE "C" NOT NULL,
  stream     bytea  NOT NULL,
  first_kept bigint NOT NULL,
  next       bigint NOT NULL,
  PRIMARY KEY (id, namespace, stream)
);

CREATE TABLE {s}.session_events (
  namespace text COLLATE "C" NOT NULL,
  id        text COLLATE "C" NOT NULL,
  stream    bytea       NOT NULL,
  position  bigint      NOT NULL,
  seq       bigint      GENERATED ALWAYS AS IDENTITY, -- the order of appending
  added_at  timestamptz NOT NULL,
  data      bytea       NOT NULL,
  PRIMARY KEY (id, namespace, stream, position)
);
