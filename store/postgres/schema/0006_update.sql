-- The update of 0005 in one pass: rows are not locked before they are changed.
-- Each of the operations, in their order, looks up where its row stands, and
-- the row is changed there before the next is looked at; so writers still lock
-- rows in one order, the order given. Only the planner could change that, and
-- OFFSET 0 and the settings leave it no other way. A row that somebody changes
-- meanwhile is changed after that, or left to the caller, who finds out why.
CREATE OR REPLACE FUNCTION {s}.coatcheck_update_v1(
  p_channel text, p_namespace text[], p_id text[], p_epoch bigint[], p_version bigint[],
  p_data text[], p_opaque text[], p_size integer[], p_op_id bytea[], p_sealed bytea[]
) RETURNS TABLE (
  o_ord bigint, o_version bigint, o_revision bigint, o_epoch bigint,
  o_created timestamptz, o_accessed timestamptz, o_idle timestamptz, o_absolute timestamptz, o_now timestamptz
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
  -- Data is not unnested, since it would be copied from node to node. A
  -- notification has at most 32 lines, which fit into 8000 bytes.
  RETURN QUERY
  WITH u AS (
    UPDATE {s}.sessions t SET
      version = CASE t.version WHEN 9223372036854775807 THEN -9223372036854775808 ELSE t.version + 1 END,
      revision = t.revision + 1, last_op = p_op_id[o.ord], data = p_data[o.ord]::jsonb,
      opaque = p_opaque[o.ord], sealed = p_sealed[o.ord], data_size = o.size
    FROM (
      SELECT i.ord, i.epoch, i.version, i.size, place.tid
      FROM unnest(p_namespace, p_id, p_epoch, p_version, p_size)
        WITH ORDINALITY AS i (namespace, id, epoch, version, size, ord)
      CROSS JOIN LATERAL (
        SELECT s.ctid AS tid FROM {s}.sessions s WHERE s.namespace = i.namespace AND s.id = i.id OFFSET 0
      ) AS place
    ) AS o
    WHERE t.ctid = o.tid AND t.version = o.version AND (o.epoch = 0 OR t.epoch = o.epoch)
      AND t.user_size + t.meta_size + o.size <= 262144
      AND least(t.idle_deadline, t.absolute_deadline) > clock_timestamp()
    RETURNING o.ord, t.version, t.revision, t.epoch,
      t.created_at, t.last_accessed, t.idle_deadline, t.absolute_deadline, clock_timestamp(),
      concat_ws(' ', 'u', t.namespace, t.id, t.kind, t.version, t.revision, E' \n') AS line
  ), n AS MATERIALIZED (
    SELECT count(pg_notify(p_channel, x.lines)) FROM (SELECT string_agg(u.line, '') AS lines FROM u GROUP BY u.ord / 32) AS x
  )
  SELECT u.ord, u.version, u.revision, u.epoch, u.created_at, u.last_accessed, u.idle_deadline, u.absolute_deadline, u.clock_timestamp
  FROM u WHERE (SELECT count FROM n) >= 0;
END
$$;
