-- What writes records. One call is one transaction and one round trip, so that
-- a client that stalls holds no lock. Results are numbered as Go knows them:
-- see result.go.

-- The time by which everything is judged. Whoever writes reads it after it has
-- the lock of the row, so that a write that waited does not judge by a time
-- that is long past.
CREATE FUNCTION {s}.coatcheck_now() RETURNS timestamptz LANGUAGE sql VOLATILE
AS $$ SELECT date_trunc('milliseconds', clock_timestamp()) $$;

-- Adds to the number of rows.
CREATE FUNCTION {s}.coatcheck_count(p_namespace text, p_kind text, p_n bigint) RETURNS void LANGUAGE sql
AS $$
  INSERT INTO {s}.session_totals (namespace, kind, slot, stored)
  VALUES (p_namespace, p_kind, pg_backend_pid() % 64, p_n)
  ON CONFLICT (namespace, kind, slot) DO UPDATE SET stored = session_totals.stored + excluded.stored
$$;

-- Notifies watchers of a change: a line each.
CREATE FUNCTION {s}.coatcheck_line(p_type text, p_namespace text, p_id text, p_kind text,
  p_version bigint, p_revision bigint, p_reason text, p_by text) RETURNS text LANGUAGE sql STABLE
AS $$
  SELECT concat_ws(' ', p_type, p_namespace, p_id, p_kind, p_version, p_revision, p_reason,
    replace(replace(p_by, '\', '\\'), E'\n', '\n')) || E'\n'
$$;

-- Ends a row that is locked: the tombstone instead of the record.
CREATE FUNCTION {s}.coatcheck_end(s {s}.session_heads, p_at timestamptz, p_reason text, p_by text, p_op bytea, p_now timestamptz)
RETURNS void LANGUAGE plpgsql
AS $$
BEGIN
  DELETE FROM {s}.sessions t WHERE t.namespace = s.namespace AND t.id = s.id;
  INSERT INTO {s}.session_ends
  VALUES (s.namespace, s.id, s.kind, s.user_id, s.version, s.created_at, s.last_accessed,
    p_at, p_reason, p_by, p_op, p_now + interval '24 hours')
  ON CONFLICT DO NOTHING;
  DELETE FROM {s}.session_events t WHERE t.namespace = s.namespace AND t.id = s.id;
  DELETE FROM {s}.session_streams t WHERE t.namespace = s.namespace AND t.id = s.id;
END
$$;

-- Applies operations, which come sorted by namespace and id, and returns for
-- each one row with o_what 0, and behind it one with o_what 1 for each record
-- that it ended, or one with o_what 2 for what is remembered of a record that
-- it did not find.
CREATE FUNCTION {s}.coatcheck_apply_v1(
  p_channel text,
  p_locks bigint[],     -- keys of advisory locks, sorted; null: no create has a limit
  p_op smallint[], p_namespace text[], p_id text[],
  p_epoch bigint[], p_version bigint[], p_idle bigint[], p_life bigint[],
  p_data text[], p_opaque text[], p_sealed bytea[], p_data_size integer[],
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
) LANGUAGE plpgsql SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  r        record;
  s        {s}.session_heads;
  v        {s}.session_heads;
  e        {s}.session_ends;
  v_found  boolean;
  v_op     smallint;
  v_namespace text;
  v_id     text;
  v_now    timestamptz;
  v_key    bigint;
  v_note   text := '';
  v_line   text;
  v_notes  integer := 0;
  v_victims {s}.session_heads[];
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
    PERFORM 1 FROM {s}.sessions t WHERE (t.namespace, t.id) IN (
        SELECT u.namespace, u.id FROM unnest(p_namespace, p_id) AS u (namespace, id)
        UNION
        SELECT x.namespace, x.id
        FROM unnest(p_namespace, p_user, p_kind, p_per_user) AS u (namespace, user_id, kind, per_user)
        JOIN {s}.sessions x ON x.namespace = u.namespace AND x.user_id = u.user_id AND x.kind = u.kind
        WHERE u.per_user > 0 AND u.user_id <> '')
      ORDER BY t.namespace, t.id FOR UPDATE;
  END IF;

  FOR i IN 1 .. cardinality(p_op) LOOP
    v_op := p_op[i]; v_namespace := p_namespace[i]; v_id := p_id[i];
    o_ord := i; o_what := 0; o_code := 0; o_at := NULL; o_size := NULL;
    o_namespace := v_namespace; o_id := v_id;
    v_line := NULL; v_delta := 0; v_victims := '{}'; v_over := 0;

    IF v_op <= 2 THEN -- create and import
      v_now := {s}.coatcheck_now();
      s.namespace := v_namespace; s.id := v_id; s.kind := p_kind[i]; s.user_id := p_user[i];
      s.revision := 1; s.epoch := 0; s.owner := '';
      IF v_op = 1 THEN
        s.version := 1; s.created_at := v_now; s.last_accessed := v_now;
        s.absolute_deadline := v_now + p_life[i] * c_ms;
        s.idle_deadline := least(v_now + p_idle[i] * c_ms, s.absolute_deadline);
        s.previous_hash := NULL; s.previous_until := NULL;
      ELSE
        s.version := p_version[i];
        s.created_at := c_epoch + p_created[i] * c_ms; s.last_accessed := c_epoch + p_accessed[i] * c_ms;
        s.idle_deadline := c_epoch + p_idle_at[i] * c_ms; s.absolute_deadline := c_epoch + p_absolute_at[i] * c_ms;
        s.previous_hash := p_previous[i]; s.previous_until := c_epoch + p_previous_until[i] * c_ms;
        IF s.previous_until <= v_now THEN
          s.previous_hash := NULL; s.previous_until := NULL;
        END IF;
      END IF;
      s.expires_at := least(s.idle_deadline, s.absolute_deadline);
      IF v_op = 2 AND s.expires_at <= v_now THEN
        o_code := 1;
      ELSIF EXISTS (SELECT FROM {s}.sessions t WHERE t.namespace = v_namespace AND t.id = v_id)
        OR EXISTS (SELECT FROM {s}.session_ends t WHERE t.namespace = v_namespace AND t.id = v_id) THEN
        o_code := 2;
      END IF;

      IF o_code = 0 AND v_op = 1 AND p_per_user[i] > 0 AND p_user[i] <> '' THEN
        v_victims := ARRAY(SELECT t FROM {s}.session_heads t
          WHERE t.namespace = v_namespace AND t.user_id = p_user[i] AND t.kind = p_kind[i]
            AND least(t.idle_deadline, t.absolute_deadline) > v_now
          ORDER BY t.created_at, t.id FOR UPDATE);
        v_over := greatest(cardinality(v_victims) - p_per_user[i] + 1, 0);
        IF v_over > 0 AND p_refuse[i] THEN
          o_code := 5; v_over := 0;
        END IF;
      END IF;
      IF o_code = 0 AND v_op = 1 AND p_total[i] > 0 THEN
        SELECT coalesce(sum(t.stored), 0) INTO v_stored FROM {s}.session_totals t
          WHERE t.namespace = v_namespace AND t.kind = p_kind[i];
        v_at := array_position(v_names, v_namespace || ' ' || p_kind[i]);
        v_stored := v_stored + coalesce(v_counts[v_at], 0) - v_over;
        IF v_stored >= p_total[i] THEN
          -- Expired rows do not count. One that expired a moment ago may be
          -- about to live on, by a touch that was in time and commits later:
          -- then it is locked and counts.
          SELECT v_stored - count(*) INTO v_stored FROM {s}.sessions t
            WHERE t.namespace = v_namespace AND t.kind = p_kind[i] AND t.expires_at <= v_now
              AND least(t.idle_deadline, t.absolute_deadline) <= v_now - interval '1 minute';
          SELECT v_stored - count(*) INTO v_stored FROM (SELECT FROM {s}.sessions t
            WHERE t.namespace = v_namespace AND t.kind = p_kind[i] AND t.expires_at <= v_now
              AND least(t.idle_deadline, t.absolute_deadline) <= v_now
              AND least(t.idle_deadline, t.absolute_deadline) > v_now - interval '1 minute'
            FOR SHARE SKIP LOCKED) AS x;
        END IF;
        IF v_stored >= p_total[i] THEN
          o_code := 6; v_over := 0;
        END IF;
      END IF;

      IF o_code = 0 THEN
        INSERT INTO {s}.sessions VALUES (s.namespace, s.id, s.kind, s.user_id, p_data[i]::jsonb, p_opaque[i], p_sealed[i],
          s.created_at, s.last_accessed, s.idle_deadline, s.absolute_deadline, s.expires_at,
          s.version, s.revision, s.epoch, s.owner, p_secret[i], s.previous_hash, s.previous_until, p_op_id[i],
          p_address[i]::inet, p_agent[i], p_protocol[i], p_capabilities[i], p_user_size[i], p_meta_size[i], p_data_size[i])
          ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
          o_code := 2; v_over := 0; -- somebody was quicker
        ELSIF EXISTS (SELECT FROM {s}.session_ends t WHERE t.namespace = v_namespace AND t.id = v_id) THEN
          -- The record was ended while the insert waited for that.
          DELETE FROM {s}.sessions t WHERE t.namespace = v_namespace AND t.id = v_id;
          o_code := 2; v_over := 0;
        ELSE
          v_delta := 1;
          v_line := {s}.coatcheck_line('c', s.namespace, s.id, s.kind, s.version, s.revision, '', '');
        END IF;
      END IF;

    ELSE -- all others need a record
      SELECT * INTO s FROM {s}.session_heads t WHERE t.namespace = v_namespace AND t.id = v_id FOR UPDATE;
      v_found := FOUND;
      v_now := {s}.coatcheck_now();
      IF NOT v_found THEN
        o_code := 1;
      ELSIF least(s.idle_deadline, s.absolute_deadline) <= v_now THEN
        o_code := 1;
      ELSIF p_epoch[i] <> s.epoch AND (p_epoch[i] <> 0 OR v_op = 6) THEN
        o_code := 4;
      ELSIF v_op = 3 AND p_version[i] <> s.version THEN
        o_code := 3;
      ELSIF v_op = 3 AND s.user_size + coalesce(p_meta_size[i], s.meta_size) + coalesce(p_data_size[i], s.data_size) > 262144 THEN
        o_code := 7;
        o_size := s.user_size + coalesce(p_meta_size[i], s.meta_size) + coalesce(p_data_size[i], s.data_size);
      ELSE
        s.revision := s.revision + 1;
        IF v_op = 3 THEN -- update
          -- Versions are unsigned in Go.
          s.version := CASE WHEN s.version = 9223372036854775807 THEN -9223372036854775808 ELSE s.version + 1 END;
          IF p_rotate[i] THEN
            IF p_grace[i] > 0 THEN
              s.previous_hash := s.secret_hash; s.previous_until := v_now + p_grace[i] * c_ms;
            ELSE
              s.previous_hash := NULL; s.previous_until := NULL;
            END IF;
            s.secret_hash := p_secret[i];
          END IF;
          IF p_data[i] IS NOT NULL AND p_rotate[i] IS NOT TRUE AND p_meta[i] IS NOT TRUE THEN
            UPDATE {s}.sessions t SET version = s.version, revision = s.revision, last_op = p_op_id[i],
              data = p_data[i]::jsonb, opaque = p_opaque[i], sealed = p_sealed[i], data_size = p_data_size[i]
              WHERE t.namespace = v_namespace AND t.id = v_id;
          ELSE
            UPDATE {s}.sessions t SET version = s.version, revision = s.revision, last_op = p_op_id[i],
              data = coalesce(p_data[i]::jsonb, t.data),
              opaque = CASE WHEN p_data[i] IS NULL THEN t.opaque ELSE p_opaque[i] END,
              sealed = CASE WHEN p_data[i] IS NULL THEN t.sealed ELSE p_sealed[i] END,
              data_size = coalesce(p_data_size[i], t.data_size),
              ip_address = CASE WHEN p_meta[i] THEN p_address[i]::inet ELSE t.ip_address END,
              user_agent = coalesce(p_agent[i], t.user_agent),
              protocol_version = coalesce(p_protocol[i], t.protocol_version),
              capabilities = CASE WHEN p_meta[i] THEN p_capabilities[i] ELSE t.capabilities END,
              meta_size = coalesce(p_meta_size[i], t.meta_size),
              secret_hash = s.secret_hash, previous_hash = s.previous_hash, previous_until = s.previous_until
              WHERE t.namespace = v_namespace AND t.id = v_id;
          END IF;
          v_line := concat_ws(' ', 'u', s.namespace, s.id, s.kind, s.version, s.revision, E' \n');
        ELSIF v_op = 4 THEN -- touch
          s.last_accessed := greatest(s.last_accessed, v_now);
          s.idle_deadline := greatest(s.idle_deadline, least(v_now + p_idle[i] * c_ms, s.absolute_deadline));
          -- Nothing that is indexed: the update stays within its page.
          UPDATE {s}.sessions t SET last_accessed = s.last_accessed, idle_deadline = s.idle_deadline, revision = s.revision
            WHERE t.namespace = v_namespace AND t.id = v_id;
        ELSIF v_op = 5 THEN -- extend
          s.last_accessed := greatest(s.last_accessed, v_now);
          s.absolute_deadline := least(v_now + p_idle[i] * c_ms, s.created_at + p_life[i] * c_ms);
          s.idle_deadline := s.absolute_deadline;
          UPDATE {s}.sessions t SET last_accessed = s.last_accessed, idle_deadline = s.idle_deadline,
            absolute_deadline = s.absolute_deadline, expires_at = s.absolute_deadline, revision = s.revision
            WHERE t.namespace = v_namespace AND t.id = v_id;
          v_line := concat_ws(' ', 'u', s.namespace, s.id, s.kind, s.version, s.revision, E' \n');
        ELSIF v_op = 6 THEN -- set owner
          s.owner := p_owner[i]; s.epoch := s.epoch + 1;
          UPDATE {s}.sessions t SET owner = s.owner, epoch = s.epoch, revision = s.revision
            WHERE t.namespace = v_namespace AND t.id = v_id;
          v_line := concat_ws(' ', 'u', s.namespace, s.id, s.kind, s.version, s.revision, E' \n');
        ELSE -- delete
          v_delta := -1;
          PERFORM {s}.coatcheck_end(s, v_now, p_reason[i], p_by[i], p_op_id[i], v_now);
          v_line := {s}.coatcheck_line('d', s.namespace, s.id, s.kind, s.version, s.revision, p_reason[i], p_by[i]);
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
    IF o_code = 1 AND v_op > 2 THEN
      IF v_found THEN -- expired, and not swept yet
        o_what := 2; o_kind := s.kind; o_user := s.user_id; o_version := s.version;
        o_created := s.created_at; o_accessed := s.last_accessed;
        o_at := least(s.idle_deadline, s.absolute_deadline);
        o_reason := CASE WHEN s.idle_deadline < s.absolute_deadline THEN 'idle' ELSE 'absolute' END;
        o_by := ''; o_op := NULL;
        RETURN NEXT;
      ELSE
        SELECT * INTO e FROM {s}.session_ends t WHERE t.namespace = v_namespace AND t.id = v_id;
        IF FOUND THEN
          o_what := 2; o_kind := e.kind; o_user := e.user_id; o_version := e.version;
          o_created := e.created_at; o_accessed := e.last_accessed;
          o_at := e.ended_at; o_reason := e.reason; o_by := e.ended_by; o_op := e.op;
          RETURN NEXT;
        END IF;
      END IF;
    ELSIF v_op = 7 AND o_code = 0 THEN
      o_what := 1; o_at := v_now; o_reason := p_reason[i]; o_by := p_by[i]; o_op := p_op_id[i];
      RETURN NEXT;
    END IF;
    FOR k IN 1 .. v_over LOOP
      v := v_victims[k];
      PERFORM {s}.coatcheck_end(v, v_now, 'evicted', p_by[i], p_op_id[i], v_now);
      v_delta := v_delta - 1;
      o_what := 1; o_id := v.id; o_kind := v.kind; o_user := v.user_id; o_version := v.version;
      o_created := v.created_at; o_accessed := v.last_accessed;
      o_at := v_now; o_reason := 'evicted'; o_by := p_by[i]; o_op := p_op_id[i];
      RETURN NEXT;
      v_line := {s}.coatcheck_line('d', v.namespace, v.id, v.kind, v.version, v.revision + 1, 'evicted', p_by[i]) || v_line;
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
    IF v_op IN (1, 2, 7) AND (v_delta <> 0) THEN
      v_line := v_namespace || ' ' || coalesce(p_kind[i], s.kind);
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
    PERFORM {s}.coatcheck_count(split_part(r.name, ' ', 1), split_part(r.name, ' ', 2), r.n);
  END LOOP;
END
$$;
