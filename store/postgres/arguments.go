package postgres

// applyArgs is the number of parameters of coatcheck_apply_v1.
const applyArgs = 37

// column returns a parameter with a value of each operation, or NULL, which
// costs nothing, if none of them has one.
func column[T any](ops []*operation, has func(*operation) bool, value func(*operation) T) []T {
	var list []T
	for i, o := range ops {
		if !has(o) {
			if list != nil {
				list = append(list, *new(T))
			}
			continue
		}
		if list == nil {
			list = make([]T, i, len(ops))
		}
		list = append(list, value(o))
	}
	return list
}

func always(*operation) bool       { return true }
func hasIdle(o *operation) bool    { return o.idle != 0 }
func hasLife(o *operation) bool    { return o.life != 0 }
func hasVersion(o *operation) bool { return o.code == opImport || o.code == opUpdate }
func hasData(o *operation) bool    { return o.size != nil }
func rotates(o *operation) bool    { return o.rotate }
func hasMeta(o *operation) bool    { return o.meta != nil }
func isNew(o *operation) bool      { return o.kind != nil }
func isCreate(o *operation) bool   { return o.code == opCreate }
func isImport(o *operation) bool   { return o.code == opImport }
func endsSome(o *operation) bool   { return o.code == opCreate || o.code == opDelete }
func setsOwner(o *operation) bool  { return o.code == opSetOwner }

// arguments returns the parameters of coatcheck_apply_v1, in their order.
func (s *Store) arguments(ops []*operation) []any {
	var locks []int64
	if keys := lockKeys(ops); len(keys) > 0 {
		locks = keys
	}
	return []any{
		s.channel,
		locks,
		column(ops, always, func(o *operation) int16 { return o.code }),
		column(ops, always, func(o *operation) string { return o.key.Namespace }),
		column(ops, always, func(o *operation) string { return o.id }),
		column(ops, always, func(o *operation) int64 { return o.epoch }),
		column(ops, hasVersion, func(o *operation) int64 { return o.version }),
		column(ops, hasIdle, func(o *operation) int64 { return o.idle }),
		column(ops, hasLife, func(o *operation) int64 { return o.life }),

		column(ops, hasData, func(o *operation) []byte { return o.data }),
		column(ops, func(o *operation) bool { return o.opaque != nil }, func(o *operation) []byte { return o.opaque }),
		column(ops, hasData, func(o *operation) *int32 { return o.size }),

		column(ops, func(o *operation) bool { return o.opID != nil }, func(o *operation) []byte { return o.opID }),
		column(ops, rotates, func(o *operation) bool { return o.rotate }),
		column(ops, func(o *operation) bool { return o.secret != nil }, func(o *operation) []byte { return o.secret }),
		column(ops, rotates, func(o *operation) int64 { return o.grace }),

		column(ops, hasMeta, func(*operation) bool { return true }),
		column(ops, hasMeta, func(o *operation) *string { return o.meta.address }),
		column(ops, hasMeta, func(o *operation) *string { return &o.meta.agent }),
		column(ops, hasMeta, func(o *operation) *string { return &o.meta.protocol }),
		column(ops, hasMeta, func(o *operation) *string { return o.meta.capabilities }),
		column(ops, hasMeta, func(o *operation) *int32 { return &o.meta.size }),

		column(ops, isNew, func(o *operation) *string { return o.kind }),
		column(ops, isNew, func(o *operation) *string { return o.user }),
		column(ops, isNew, func(o *operation) int32 { return o.userSize }),
		column(ops, isCreate, func(o *operation) int64 { return int64(o.limit.PerUser) }),
		column(ops, isCreate, func(o *operation) bool { return o.limit.Refuse }),
		column(ops, isCreate, func(o *operation) int64 { return int64(o.limit.Total) }),

		column(ops, endsSome, func(o *operation) string { return o.by }),
		column(ops, endsSome, func(o *operation) string { return o.why }),
		column(ops, setsOwner, func(o *operation) string { return o.owner }),

		column(ops, isImport, func(o *operation) int64 { return o.times[0] }),
		column(ops, isImport, func(o *operation) int64 { return o.times[1] }),
		column(ops, isImport, func(o *operation) int64 { return o.times[2] }),
		column(ops, isImport, func(o *operation) int64 { return o.times[3] }),
		column(ops, isImport, func(o *operation) []byte { return o.previous }),
		column(ops, isImport, func(o *operation) *int64 { return o.previousUntil }),
	}
}
