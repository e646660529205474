-- What writes plain updates: data in place of data and nothing else, as most
-- writes do. Operations come sorted by namespace and id, each key once. Returned
-- are those that were done.
--
-- The settings keep the plan to look-ups by key, whatever the statistics say,
-- and spare the server from planning the statement anew each time.
CREATE FUNCTION {s}.coatcheck_update_v1(
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
  -- All rows are locked, in the order given, before any is changed. Data is
  -- not unnested, since it would be copied from node to node. A notification
  -- has at most 32 lines, which fit into 8000 bytes.
  RETURN QUERY
  WITH l AS MATERIALIZED (
    SELECT FROM unnest(p_namespace, p_id) WITH ORDINALITY AS i (namespace, id, ord)
    JOIN {s}.sessions t ON t.namespace = i.namespace AND t.id = i.id
    ORDER BY i.ord FOR UPDATE OF t
  ), u AS (
    UPDATE {s}.sessions t SET
      version = CASE t.version WHEN 9223372036854775807 THEN -9223372036854775808 ELSE t.version + 1 END,
      revision = t.revision + 1, last_op = p_op_id[i.ord], data = p_data[i.ord]::jsonb,
      opaque = p_opaque[i.ord], sealed = p_sealed[i.ord], data_size = i.size
    FROM unnest(p_namespace, p_id, p_epoch, p_version, p_size)
      WITH ORDINALITY AS i (namespace, id, epoch, version, size, ord)
    WHERE (SELECT count(*) FROM l) >= 0
      AND t.namespace = i.namespace AND t.id = i.id AND t.version = i.version AND (i.epoch = 0 OR t.epoch = i.epoch)
      AND t.user_size + t.meta_size + i.size <= 262144
      AND least(t.idle_deadline, t.absolute_deadline) > clock_timestamp()
    RETURNING i.ord, t.version, t.revision, t.epoch,
      t.created_at, t.last_accessed, t.idle_deadline, t.absolute_deadline, clock_timestamp(),
      concat_ws(' ', 'u', t.namespace, t.id, t.kind, t.version, t.revision, E' \n') AS line
  ), n AS MATERIALIZED (
    SELECT count(pg_notify(p_channel, x.lines)) FROM (SELECT string_agg(u.line, '') AS lines FROM u GROUP BY u.ord / 32) AS x
  )
  SELECT u.ord, u.version, u.revision, u.epoch, u.created_at, u.last_accessed, u.idle_deadline, u.absolute_deadline, u.clock_timestamp
  FROM u WHERE (SELECT count FROM n) >= 0;
END
$$;
