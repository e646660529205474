-- What writes events. The lock of the record's row keeps two writers of one
-- record apart.

-- o_code as in coatcheck_apply_v1: 0 done, 1 not found, 4 fenced. A conflict is
-- the error CC001 with the index wanted and the one there as its detail.
CREATE FUNCTION {s}.coatcheck_append_v1(
  p_namespace text, p_id text, p_epoch bigint,
  p_stream bytea[], p_index bigint[], p_skip boolean[], p_count integer[], p_events bytea[]
) RETURNS TABLE (o_code smallint, o_want bigint, o_have bigint, o_owner text) LANGUAGE plpgsql SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  s      {s}.session_heads;
  r      record;
  v_now  timestamptz;
  v_next bigint;
  v_from integer := 0; -- events taken so far
BEGIN
  o_code := 0;
  SELECT * INTO s FROM {s}.session_heads t WHERE t.namespace = p_namespace AND t.id = p_id FOR UPDATE;
  v_now := {s}.coatcheck_now();
  IF s.id IS NULL OR least(s.idle_deadline, s.absolute_deadline) <= v_now THEN
    o_code := 1;
    RETURN NEXT; RETURN;
  END IF;
  IF p_epoch <> 0 AND p_epoch <> s.epoch THEN
    o_code := 4; o_want := p_epoch; o_have := s.epoch; o_owner := s.owner;
    RETURN NEXT; RETURN;
  END IF;
  FOR r IN SELECT * FROM unnest(p_stream, p_index, p_skip, p_count) AS u (stream, index, skip, n) LOOP
    SELECT t.next INTO v_next FROM {s}.session_streams t
      WHERE t.namespace = p_namespace AND t.id = p_id AND t.stream = r.stream;
    v_next := coalesce(v_next, 0);
    IF r.index < v_next OR r.index > v_next AND NOT r.skip THEN
      -- An error, so that nothing of what went before is kept.
      RAISE EXCEPTION 'events conflict' USING ERRCODE = 'CC001', DETAIL = r.index || ' ' || v_next;
    END IF;
    IF r.skip THEN
      DELETE FROM {s}.session_events t WHERE t.namespace = p_namespace AND t.id = p_id AND t.stream = r.stream;
    END IF;
    INSERT INTO {s}.session_streams AS t VALUES (p_namespace, p_id, r.stream, r.index, r.index + r.n)
      ON CONFLICT (namespace, id, stream) DO UPDATE SET next = excluded.next,
        first_kept = CASE WHEN r.skip THEN excluded.first_kept ELSE t.first_kept END;
    INSERT INTO {s}.session_events (namespace, id, stream, position, added_at, data)
      SELECT p_namespace, p_id, r.stream, r.index + u.ord - 1, v_now, u.data
      FROM unnest(p_events[v_from + 1 : v_from + r.n]) WITH ORDINALITY AS u (data, ord)
      ORDER BY u.ord;
    v_from := v_from + r.n;
  END LOOP;
  RETURN NEXT;
END
$$;

-- Forgets the oldest events of a record: those beyond p_bytes, if that is not
-- 0, and those older than p_age milliseconds, if that is not 0.
CREATE FUNCTION {s}.coatcheck_trim_v1(p_namespace text, p_id text, p_bytes bigint, p_age bigint)
RETURNS TABLE (o_code smallint) LANGUAGE plpgsql SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  s     {s}.session_heads;
  v_now timestamptz;
BEGIN
  o_code := 0;
  SELECT * INTO s FROM {s}.session_heads t WHERE t.namespace = p_namespace AND t.id = p_id FOR UPDATE;
  v_now := clock_timestamp();
  IF s.id IS NULL OR least(s.idle_deadline, s.absolute_deadline) <= v_now THEN
    o_code := 1;
    RETURN NEXT; RETURN;
  END IF;
  WITH sized AS (
    SELECT t.seq, t.added_at, sum(octet_length(t.data)) OVER (ORDER BY t.seq DESC) AS kept
    FROM {s}.session_events t WHERE t.namespace = p_namespace AND t.id = p_id
  ), gone AS (
    DELETE FROM {s}.session_events t USING sized z
    WHERE t.namespace = p_namespace AND t.id = p_id AND t.seq = z.seq
      AND (p_bytes > 0 AND z.kept > p_bytes OR p_age > 0 AND z.added_at < v_now - p_age * interval '1 millisecond')
    RETURNING t.stream, t.position
  )
  UPDATE {s}.session_streams t SET first_kept = g.last + 1
  FROM (SELECT stream, max(position) AS last FROM gone GROUP BY stream) g
  WHERE t.namespace = p_namespace AND t.id = p_id AND t.stream = g.stream;
  RETURN NEXT;
END
$$;
