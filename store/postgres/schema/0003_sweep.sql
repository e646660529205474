-- What ends expired records. It waits for nobody: rows that somebody has locked
-- are left for the next sweep.

-- Looks at no more than p_limit rows that are due, ends those that have expired
-- and puts off the others. The first row that it returns says how many it
-- looked at; the others are the ends.
CREATE FUNCTION {s}.coatcheck_sweep_v1(p_channel text, p_namespace text, p_kind text, p_limit integer)
RETURNS TABLE (
  o_looked integer, o_id text, o_kind text, o_user text, o_version bigint,
  o_created timestamptz, o_accessed timestamptz, o_at timestamptz, o_reason text
) LANGUAGE plpgsql SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  s        {s}.session_heads;
  v_rows   {s}.session_heads[];
  v_now    timestamptz := {s}.coatcheck_now();
  v_note   text := '';
  v_line   text;
  v_counts jsonb := '{}';
  v_kind   text;
BEGIN
  -- Kind by kind, as the index has them.
  v_rows := '{}';
  FOR v_kind IN SELECT DISTINCT c.kind FROM {s}.session_totals c
      WHERE c.namespace = p_namespace AND (p_kind = '' OR c.kind = p_kind) ORDER BY c.kind LOOP
    v_rows := v_rows || ARRAY(SELECT t FROM {s}.session_heads t
      WHERE t.namespace = p_namespace AND t.kind = v_kind AND t.expires_at <= v_now
      ORDER BY t.expires_at LIMIT p_limit - cardinality(v_rows) FOR UPDATE SKIP LOCKED);
    EXIT WHEN cardinality(v_rows) >= p_limit;
  END LOOP;
  o_looked := cardinality(v_rows);
  RETURN NEXT;
  FOREACH s IN ARRAY v_rows LOOP
    IF least(s.idle_deadline, s.absolute_deadline) > v_now THEN
      UPDATE {s}.sessions t SET expires_at = least(s.idle_deadline, s.absolute_deadline)
        WHERE t.namespace = s.namespace AND t.id = s.id;
      CONTINUE;
    END IF;
    o_id := s.id; o_kind := s.kind; o_user := s.user_id; o_version := s.version;
    o_created := s.created_at; o_accessed := s.last_accessed;
    o_at := least(s.idle_deadline, s.absolute_deadline);
    o_reason := CASE WHEN s.idle_deadline < s.absolute_deadline THEN 'idle' ELSE 'absolute' END;
    PERFORM {s}.coatcheck_end(s, o_at, o_reason, '', NULL, v_now);
    RETURN NEXT;
    v_counts := jsonb_set(v_counts, ARRAY[s.kind], to_jsonb(coalesce((v_counts ->> s.kind)::bigint, 0) - 1));
    v_line := {s}.coatcheck_line('x', s.namespace, s.id, s.kind, s.version, s.revision + 1, o_reason, '');
    IF octet_length(v_note) + octet_length(v_line) > 7900 THEN
      PERFORM pg_notify(p_channel, v_note);
      v_note := '';
    END IF;
    v_note := v_note || v_line;
  END LOOP;
  IF v_note <> '' THEN
    PERFORM pg_notify(p_channel, v_note);
  END IF;
  FOR v_kind IN SELECT k FROM jsonb_object_keys(v_counts) AS k ORDER BY k LOOP
    PERFORM {s}.coatcheck_count(p_namespace, v_kind, (v_counts ->> v_kind)::bigint);
  END LOOP;
END
$$;

-- Forgets tombstones that are due.
CREATE FUNCTION {s}.coatcheck_forget_v1(p_namespace text, p_limit integer) RETURNS void LANGUAGE sql SET enable_seqscan = off
AS $$
  DELETE FROM {s}.session_ends WHERE (namespace, id) IN (
    SELECT t.namespace, t.id FROM {s}.session_ends t
    WHERE t.namespace = p_namespace AND t.forget_at <= clock_timestamp()
    ORDER BY t.forget_at LIMIT p_limit FOR UPDATE SKIP LOCKED)
$$;
