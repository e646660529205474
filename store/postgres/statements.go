package postgres

import "strings"

// statements are the SQL of the package with the schema's name in it. Data
// never becomes part of a statement.
type statements struct {
	get, getOne, getLocked, ends string
	apply, sweep, forget         string
	updateOne, updateMany        string
	append, trim, read, tail     string
	list                         string
}

func (s *Store) statements() statements {
	one := "SELECT " + recordColumns + " FROM {s}.sessions t WHERE t.namespace = $1 AND t.id = $2"
	get := "SELECT " + recordColumns + " FROM {s}.sessions t WHERE t.namespace = $1 AND t.id = ANY ($2::text[])"
	return statements{
		get:       s.in(get),
		getOne:    s.in(one),
		getLocked: s.in(get + " ORDER BY t.id FOR SHARE"),
		ends: s.in("SELECT " + endColumns + ` FROM unnest($1::text[], $2::text[]) AS u (namespace, id)
			JOIN {s}.session_ends t ON t.namespace = u.namespace AND t.id = u.id`),
		apply:      s.in("SELECT * FROM {s}.coatcheck_apply_v1(" + placeholders(applyArgs) + ")"),
		updateOne:  s.in(updateOne),
		updateMany: s.in(updateMany),
		sweep:      s.in("SELECT * FROM {s}.coatcheck_sweep_v1($1, $2, $3, $4)"),
		forget:     s.in("SELECT FROM {s}.coatcheck_forget_v1($1, $2)"),
		append:     s.in("SELECT * FROM {s}.coatcheck_append_v1($1, $2, $3, $4, $5, $6, $7, $8)"),
		trim:       s.in("SELECT * FROM {s}.coatcheck_trim_v1($1, $2, $3, $4)"),
		list:       s.in("SELECT " + recordColumns + " FROM {s}.sessions t WHERE "),
		tail: s.in(`SELECT least(t.idle_deadline, t.absolute_deadline) > clock_timestamp(), m.first_kept, m.next
			FROM {s}.sessions t LEFT JOIN {s}.session_streams m ON m.namespace = t.namespace AND m.id = t.id AND m.stream = $3
			WHERE t.namespace = $1 AND t.id = $2`),
		read: s.in(`SELECT position, data FROM {s}.session_events
			WHERE namespace = $1 AND id = $2 AND stream = $3 AND position >= $4 AND position < $5 ORDER BY position LIMIT $6`),
	}
}

// placeholders returns $1 to $n.
func placeholders(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(placeholder(i + 1))
	}
	return b.String()
}
