-- What writes records. One call is one transaction and one round trip, so that
-- a client that stalls holds no lock. Results are numbered as Go knows them:
-- see result.go.

-- The time by which everything is judged. Whoever writes reads it after it has
-- the lock of the row, so that a write that waited does not judge by a time
-- that is long past.
CREATE FUNCTION coatcheck_now() RETURNS timestamptz LANGUAGE sql VOLATILE
AS $$ SELECT date_trunc('milliseconds', clock_timestamp()) $$;

-- Adds to the number of rows.
CREATE FUNCTION coatcheck_count(p_namespace text, p_kind text, p_n bigint) RETURNS void LANGUAGE sql
AS $$
  INSERT INTO session_totals (namespace, kind, slot, stored)
  VALUES (p_namespace, p_kind, pg_backend_pid() % 64, p_n)
  ON CONFLICT (namespace, kind, slot) DO UPDATE SET stored = session_totals.stored + excluded.stored
$$;

-- Notifies watchers of a change: a line each.
CREATE FUNCTION coatcheck_line(p_type text, p_namespace text, p_id text, p_kind text,
  p_version bigint, p_revision bigint, p_reason text, p_by text) RETURNS text LANGUAGE sql STABLE
AS $$
  SELECT concat_ws(' ', p_type, p_namespace, p_id, p_kind, p_version, p_revision, p_reason,
    replace(replace(p_by, '\', '\\'), E'\n', '\n')) || E'\n'
$$;

-- Ends a row that is locked: the tombstone instead of the record.
CREATE FUNCTION coatcheck_end(s session_heads, p_at timestamptz, p_reason text, p_by text, p_op bytea, p_now timestamptz)
RETURNS void LANGUAGE plpgsql
AS $$
BEGIN
  DELETE FROM sessions t WHERE t.namespace = s.namespace AND t.id = s.id;
  INSERT INTO session_ends AS e
  VALUES (s.namespace, s.id, s.kind, s.user_id, s.version, s.created_at, s.last_accessed,
    p_at, p_reason, p_by, p_op, p_now + interval '24 hours')
  ON CONFLICT (namespace, id) DO UPDATE SET -- one that was due to be forgotten
    kind = excluded.kind, user_id = excluded.user_id, version = excluded.version,
    created_at = excluded.created_at, last_accessed = excluded.last_accessed,
    ended_at = excluded.ended_at, reason = excluded.reason, ended_by = excluded.ended_by,
    op = excluded.op, forget_at = excluded.forget_at;
  DELETE FROM session_events t WHERE t.namespace = s.namespace AND t.id = s.id;
  DELETE FROM session_streams t WHERE t.namespace = s.namespace AND t.id = s.id;
END
$$;

-- Applies operations, which come sorted by namespace and id, and returns for
-- each one row with o_what 0, and behind it one with o_what 1 for each record
-- that it ended, or one with o_what 2 for what is remembered of a record that
-- it did not find.
CREATE FUNCTION coatcheck_apply_v1(
  p_channel text,
  p_locks bigint[],     -- keys of advisory locks, sorted; null: no create has a limit
  p_op smallint[], p_namespace text[], p_id text[],
  p_epoch bigint[], p_version bigint[], p_idle bigint[], p_life bigint[],
  p_data text[], p_opaque text[], p_data_size integer[],
  p_op_id bytea[],
  p_rotate boolean[], p_secret bytea[], p_grace bigint[],
  p_meta boolean[], p_address text[], p_agent text[], p_protocol text[], p_capabilities text[], p_meta_size integer[],
  p_kind text[], p_user text[], p_user_size integer[],
  p_per_user bigint[], p_refuse boolean[], p_total bigint[],
  p_by text[], p_reason text[], p_owner text[],
  p_created bigint[], p_accessed bigint[], p_idle_at bigint[], p_absolute_at bigint[],
  p_previous bytea[], p_previous_until bigint[]
) RETURNS TABLE (
  o_ord integer, o_what smallint, o_code smallint,
  o_namespace text, o_id text, o_kind text, o_user text,
  o_version bigint, o_revision bigint, o_epoch bigint, o_owner text,
  o_created timestamptz, o_accessed timestamptz, o_idle timestamptz, o_absolute timestamptz,
  o_now timestamptz,
  o_at timestamptz, o_reason text, o_by text, o_op bytea, o_size integer
) LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
  r        record;
  s        session_heads;
  v        session_heads;
  e        session_ends;
  v_found  boolean;
  v_now    timestamptz;
  v_key    bigint;
  v_note   text := '';
  v_line   text;
  v_notes  integer := 0;
  v_victims session_heads[];
  v_over   bigint;
  v_stored bigint;
  v_names  text[] := '{}'; -- namespace and kind of the counts in v_counts
  v_counts bigint[] := '{}';
  v_at     integer;
  v_delta  integer;
  c_epoch  constant timestamptz := to_timestamp(0);
  c_ms     constant interval := interval '1 millisecond';
BEGIN
  IF p_locks IS NOT NULL THEN
    -- First the advisory locks, then all rows in the order of their keys, as
    -- everybody else locks them: so nobody waits in a circle.
    FOREACH v_key IN ARRAY p_locks LOOP
      PERFORM pg_advisory_xact_lock(v_key);
    END LOOP;
    PERFORM 1 FROM sessions t WHERE (t.namespace, t.id) IN (
        SELECT u.namespace, u.id FROM unnest(p_namespace, p_id) AS u (namespace, id)
        UNION
        SELECT x.namespace, x.id
        FROM unnest(p_namespace, p_user, p_kind, p_per_user) AS u (namespace, user_id, kind, per_user)
        JOIN sessions x ON x.namespace = u.namespace AND x.user_id = u.user_id AND x.kind = u.kind
        WHERE u.per_user > 0 AND u.user_id <> '')
      ORDER BY t.namespace, t.id FOR UPDATE;
  END IF;

  FOR r IN SELECT * FROM unnest(p_op, p_namespace, p_id, p_epoch, p_version, p_idle, p_life,
      p_data, p_opaque, p_data_size, p_op_id, p_rotate, p_secret, p_grace,
      p_meta, p_address, p_agent, p_protocol, p_capabilities, p_meta_size,
      p_kind, p_user, p_user_size, p_per_user, p_refuse, p_total, p_by, p_reason, p_owner,
      p_created, p_accessed, p_idle_at, p_absolute_at, p_previous, p_previous_until)
    WITH ORDINALITY AS u (op, namespace, id, epoch, version, idle, life,
      data, opaque, data_size, op_id, rotate, secret, grace,
      meta, address, agent, protocol, capabilities, meta_size,
      kind, user_id, user_size, per_user, refuse, total, ended_by, reason, owner,
      created, accessed, idle_at, absolute_at, previous, previous_until, ord)
  LOOP
    o_ord := r.ord; o_what := 0; o_code := 0; o_at := NULL; o_size := NULL;
    o_namespace := r.namespace; o_id := r.id;
    v_line := NULL; v_delta := 0; v_victims := '{}'; v_over := 0;

    IF r.op <= 2 THEN -- create and import
      v_now := coatcheck_now();
      s.namespace := r.namespace; s.id := r.id; s.kind := r.kind; s.user_id := r.user_id;
      s.revision := 1; s.epoch := 0; s.owner := '';
      IF r.op = 1 THEN
        s.version := 1; s.created_at := v_now; s.last_accessed := v_now;
        s.absolute_deadline := v_now + r.life * c_ms;
        s.idle_deadline := least(v_now + r.idle * c_ms, s.absolute_deadline);
        s.previous_hash := NULL; s.previous_until := NULL;
      ELSE
        s.version := r.version;
        s.created_at := c_epoch + r.created * c_ms; s.last_accessed := c_epoch + r.accessed * c_ms;
        s.idle_deadline := c_epoch + r.idle_at * c_ms; s.absolute_deadline := c_epoch + r.absolute_at * c_ms;
        s.previous_hash := r.previous; s.previous_until := c_epoch + r.previous_until * c_ms;
        IF s.previous_until <= v_now THEN
          s.previous_hash := NULL; s.previous_until := NULL;
        END IF;
      END IF;
      s.expires_at := least(s.idle_deadline, s.absolute_deadline);
      IF r.op = 2 AND s.expires_at <= v_now THEN
        o_code := 1;
      ELSIF EXISTS (SELECT FROM sessions t WHERE t.namespace = r.namespace AND t.id = r.id)
        OR EXISTS (SELECT FROM session_ends t WHERE t.namespace = r.namespace AND t.id = r.id AND t.forget_at > v_now) THEN
        o_code := 2;
      END IF;

      IF o_code = 0 AND r.op = 1 AND r.per_user > 0 AND r.user_id <> '' THEN
        v_victims := ARRAY(SELECT t FROM session_heads t
          WHERE t.namespace = r.namespace AND t.user_id = r.user_id AND t.kind = r.kind
            AND least(t.idle_deadline, t.absolute_deadline) > v_now
          ORDER BY t.created_at, t.id FOR UPDATE);
        v_over := greatest(cardinality(v_victims) - r.per_user + 1, 0);
        IF v_over > 0 AND r.refuse THEN
          o_code := 5; v_over := 0;
        END IF;
      END IF;
      IF o_code = 0 AND r.op = 1 AND r.total > 0 THEN
        SELECT coalesce(sum(t.stored), 0) INTO v_stored FROM session_totals t
          WHERE t.namespace = r.namespace AND t.kind = r.kind;
        v_at := array_position(v_names, r.namespace || ' ' || r.kind);
        v_stored := v_stored + coalesce(v_counts[v_at], 0) - v_over;
        IF v_stored >= r.total THEN
          -- Expired rows do not count. One that expired a moment ago may be
          -- about to live on, by a touch that was in time and commits later:
          -- then it is locked and counts.
          SELECT v_stored - count(*) INTO v_stored FROM sessions t
            WHERE t.namespace = r.namespace AND t.kind = r.kind AND t.expires_at <= v_now
              AND least(t.idle_deadline, t.absolute_deadline) <= v_now - interval '1 minute';
          SELECT v_stored - count(*) INTO v_stored FROM (SELECT FROM sessions t
            WHERE t.namespace = r.namespace AND t.kind = r.kind AND t.expires_at <= v_now
              AND least(t.idle_deadline, t.absolute_deadline) <= v_now
              AND least(t.idle_deadline, t.absolute_deadline) > v_now - interval '1 minute'
            FOR SHARE SKIP LOCKED) AS x;
        END IF;
        IF v_stored >= r.total THEN
          o_code := 6; v_over := 0;
        END IF;
      END IF;

      IF o_code = 0 THEN
        INSERT INTO sessions VALUES (s.namespace, s.id, s.kind, s.user_id, r.data::jsonb, r.opaque,
          s.created_at, s.last_accessed, s.idle_deadline, s.absolute_deadline, s.expires_at,
          s.version, s.revision, s.epoch, s.owner, r.secret, s.previous_hash, s.previous_until, r.op_id,
          r.address::inet, r.agent, r.protocol, r.capabilities, r.user_size, r.meta_size, r.data_size)
          ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
          o_code := 2; v_over := 0; -- somebody was quicker
        ELSIF EXISTS (SELECT FROM session_ends t WHERE t.namespace = r.namespace AND t.id = r.id AND t.forget_at > v_now) THEN
          -- The record was ended while the insert waited for that.
          DELETE FROM sessions t WHERE t.namespace = r.namespace AND t.id = r.id;
          o_code := 2; v_over := 0;
        ELSE
          v_delta := 1;
          v_line := coatcheck_line('c', s.namespace, s.id, s.kind, s.version, s.revision, '', '');
        END IF;
      END IF;

    ELSE -- all others need a record
      SELECT * INTO s FROM session_heads t WHERE t.namespace = r.namespace AND t.id = r.id FOR UPDATE;
      v_found := FOUND;
      v_now := coatcheck_now();
      IF NOT v_found THEN
        o_code := 1;
      ELSIF least(s.idle_deadline, s.absolute_deadline) <= v_now THEN
        o_code := 1;
      ELSIF r.op = 3 AND s.user_size + coalesce(r.meta_size, s.meta_size) + coalesce(r.data_size, s.data_size) > 262144 THEN
        o_code := 7;
        o_size := s.user_size + coalesce(r.meta_size, s.meta_size) + coalesce(r.data_size, s.data_size);
      ELSIF r.epoch <> s.epoch AND (r.epoch <> 0 OR r.op = 6) THEN
        o_code := 4;
      ELSIF r.op = 3 AND r.version <> s.version THEN
        o_code := 3;
      ELSE
        s.revision := s.revision + 1;
        IF r.op = 3 THEN -- update
          -- Versions are unsigned in Go.
          s.version := CASE WHEN s.version = 9223372036854775807 THEN -9223372036854775808 ELSE s.version + 1 END;
          IF r.rotate THEN
            IF r.grace > 0 THEN
              s.previous_hash := s.secret_hash; s.previous_until := v_now + r.grace * c_ms;
            ELSE
              s.previous_hash := NULL; s.previous_until := NULL;
            END IF;
            s.secret_hash := r.secret;
          END IF;
          IF r.data IS NOT NULL AND r.rotate IS NOT TRUE AND r.meta IS NOT TRUE THEN
            UPDATE sessions t SET version = s.version, revision = s.revision, last_op = r.op_id,
              data = r.data::jsonb, opaque = r.opaque, data_size = r.data_size
              WHERE t.namespace = r.namespace AND t.id = r.id;
          ELSE
            UPDATE sessions t SET version = s.version, revision = s.revision, last_op = r.op_id,
              data = coalesce(r.data::jsonb, t.data),
              opaque = CASE WHEN r.data IS NULL THEN t.opaque ELSE r.opaque END,
              data_size = coalesce(r.data_size, t.data_size),
              ip_address = CASE WHEN r.meta THEN r.address::inet ELSE t.ip_address END,
              user_agent = coalesce(r.agent, t.user_agent),
              protocol_version = coalesce(r.protocol, t.protocol_version),
              capabilities = CASE WHEN r.meta THEN r.capabilities ELSE t.capabilities END,
              meta_size = coalesce(r.meta_size, t.meta_size),
              secret_hash = s.secret_hash, previous_hash = s.previous_hash, previous_until = s.previous_until
              WHERE t.namespace = r.namespace AND t.id = r.id;
          END IF;
          v_line := coatcheck_line('u', s.namespace, s.id, s.kind, s.version, s.revision, '', '');
        ELSIF r.op = 4 THEN -- touch
          s.last_accessed := greatest(s.last_accessed, v_now);
          s.idle_deadline := greatest(s.idle_deadline, least(v_now + r.idle * c_ms, s.absolute_deadline));
          -- Nothing that is indexed: the update stays within its page.
          UPDATE sessions t SET last_accessed = s.last_accessed, idle_deadline = s.idle_deadline, revision = s.revision
            WHERE t.namespace = r.namespace AND t.id = r.id;
        ELSIF r.op = 5 THEN -- extend
          s.last_accessed := greatest(s.last_accessed, v_now);
          s.absolute_deadline := least(v_now + r.idle * c_ms, s.created_at + r.life * c_ms);
          s.idle_deadline := s.absolute_deadline;
          UPDATE sessions t SET last_accessed = s.last_accessed, idle_deadline = s.idle_deadline,
            absolute_deadline = s.absolute_deadline, expires_at = s.absolute_deadline, revision = s.revision
            WHERE t.namespace = r.namespace AND t.id = r.id;
          v_line := coatcheck_line('u', s.namespace, s.id, s.kind, s.version, s.revision, '', '');
        ELSIF r.op = 6 THEN -- set owner
          s.owner := r.owner; s.epoch := s.epoch + 1;
          UPDATE sessions t SET owner = s.owner, epoch = s.epoch, revision = s.revision
            WHERE t.namespace = r.namespace AND t.id = r.id;
          v_line := coatcheck_line('u', s.namespace, s.id, s.kind, s.version, s.revision, '', '');
        ELSE -- delete
          v_delta := -1;
          PERFORM coatcheck_end(s, v_now, r.reason, r.ended_by, r.op_id, v_now);
          v_line := coatcheck_line('d', s.namespace, s.id, s.kind, s.version, s.revision, r.reason, r.ended_by);
        END IF;
      END IF;
    END IF;

    -- The result, and what belongs to it.
    o_now := v_now;
    IF o_code IN (0, 3, 4) THEN
      o_kind := s.kind; o_user := s.user_id;
      o_version := s.version; o_revision := s.revision; o_epoch := s.epoch; o_owner := s.owner;
      o_created := s.created_at; o_accessed := s.last_accessed;
      o_idle := s.idle_deadline; o_absolute := s.absolute_deadline;
    END IF;
    RETURN NEXT;
    IF o_code = 1 AND r.op > 2 THEN
      IF v_found THEN -- expired, and not swept yet
        o_what := 2; o_kind := s.kind; o_user := s.user_id; o_version := s.version;
        o_created := s.created_at; o_accessed := s.last_accessed;
        o_at := least(s.idle_deadline, s.absolute_deadline);
        o_reason := CASE WHEN s.idle_deadline < s.absolute_deadline THEN 'idle' ELSE 'absolute' END;
        o_by := ''; o_op := NULL;
        RETURN NEXT;
      ELSE
        SELECT * INTO e FROM session_ends t WHERE t.namespace = r.namespace AND t.id = r.id AND t.forget_at > v_now;
        IF FOUND THEN
          o_what := 2; o_kind := e.kind; o_user := e.user_id; o_version := e.version;
          o_created := e.created_at; o_accessed := e.last_accessed;
          o_at := e.ended_at; o_reason := e.reason; o_by := e.ended_by; o_op := e.op;
          RETURN NEXT;
        END IF;
      END IF;
    ELSIF r.op = 7 AND o_code = 0 THEN
      o_what := 1; o_at := v_now; o_reason := r.reason; o_by := r.ended_by; o_op := r.op_id;
      RETURN NEXT;
    END IF;
    FOR i IN 1 .. v_over LOOP
      v := v_victims[i];
      PERFORM coatcheck_end(v, v_now, 'evicted', r.ended_by, r.op_id, v_now);
      v_delta := v_delta - 1;
      o_what := 1; o_id := v.id; o_kind := v.kind; o_user := v.user_id; o_version := v.version;
      o_created := v.created_at; o_accessed := v.last_accessed;
      o_at := v_now; o_reason := 'evicted'; o_by := r.ended_by; o_op := r.op_id;
      RETURN NEXT;
      v_line := coatcheck_line('d', v.namespace, v.id, v.kind, v.version, v.revision + 1, 'evicted', r.ended_by) || v_line;
    END LOOP;

    IF v_line IS NOT NULL THEN
      -- The server takes less than 8000 bytes. Of very many changes only the
      -- fact is told.
      IF octet_length(v_note) + octet_length(v_line) > 7900 THEN
        PERFORM pg_notify(p_channel, v_note) WHERE v_note <> '';
        v_note := ''; v_notes := v_notes + 1;
      END IF;
      IF octet_length(v_line) > 7900 OR v_notes >= 32 THEN
        v_line := E'gap\n'; v_note := '';
      END IF;
      v_note := v_note || v_line;
    END IF;
    IF r.op IN (1, 2, 7) AND (v_delta <> 0) THEN
      v_line := r.namespace || ' ' || coalesce(r.kind, s.kind);
      v_at := array_position(v_names, v_line);
      IF v_at IS NULL THEN
        v_names := v_names || v_line; v_counts := v_counts || v_delta::bigint;
      ELSE
        v_counts[v_at] := v_counts[v_at] + v_delta;
      END IF;
    END IF;
  END LOOP;

  IF v_note <> '' THEN
    PERFORM pg_notify(p_channel, v_note);
  END IF;
  FOR r IN SELECT * FROM unnest(v_names, v_counts) AS u (name, n) WHERE n <> 0 ORDER BY name LOOP
    PERFORM coatcheck_count(split_part(r.name, ' ', 1), split_part(r.name, ' ', 2), r.n);
  END LOOP;
END
$$;
