package postgres

// applyArgs is the number of parameters of coatcheck_apply_v1.
const applyArgs = 38

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

func hasOpaque(o *operation) bool  { return o.opaque != nil }
func isSealed(o *operation) bool   { return o.sealed != nil }
func hasOpID(o *operation) bool    { return o.opID != nil }
func hasSecret(o *operation) bool  { return o.secret != nil }
func always(*operation) bool       { return true }
func hasIdle(o *operation) bool    { return o.idle != 0 }
func hasLife(o *operation) bool    { return o.life != 0 }
func hasVersion(o *operation) bool { return o.code == opImport || o.code == opUpdate }
func hasData(o *operation) bool    { return o.size.set }
func rotates(o *operation) bool    { return o.rotate }
func hasMeta(o *operation) bool    { return o.meta != nil }
func isNew(o *operation) bool      { return o.kind.set }
func isCreate(o *operation) bool   { return o.code == opCreate }
func isImport(o *operation) bool   { return o.code == opImport }
func endsSome(o *operation) bool   { return o.code == opCreate || o.code == opDelete }
func setsOwner(o *operation) bool  { return o.code == opSetOwner }

// arguments adds the parameters of coatcheck_apply_v1, in their order.
func (s *Store) arguments(p *params, ops []*operation) {
	p.text(s.channel)
	p.int8s(lockKeys(ops))
	p.int2s(column(ops, always, func(o *operation) int16 { return o.code }))
	p.texts(column(ops, always, func(o *operation) string { return o.key.Namespace }))
	p.texts(column(ops, always, func(o *operation) string { return o.id }))
	p.int8s(column(ops, always, func(o *operation) int64 { return o.epoch }))
	p.int8s(column(ops, hasVersion, func(o *operation) int64 { return o.version }))
	p.int8s(column(ops, hasIdle, func(o *operation) int64 { return o.idle }))
	p.int8s(column(ops, hasLife, func(o *operation) int64 { return o.life }))

	p.objects(column(ops, hasData, func(o *operation) object { return o.data }))
	p.objects(column(ops, hasOpaque, func(o *operation) object { return o.opaque }))
	p.byteses(column(ops, isSealed, func(o *operation) []byte { return o.sealed }))
	p.optInt4s(column(ops, hasData, func(o *operation) opt[int32] { return o.size }))

	p.byteses(column(ops, hasOpID, func(o *operation) []byte { return o.opID }))
	p.bools(column(ops, rotates, func(o *operation) bool { return o.rotate }))
	p.byteses(column(ops, hasSecret, func(o *operation) []byte { return o.secret }))
	p.int8s(column(ops, rotates, func(o *operation) int64 { return o.grace }))

	p.bools(column(ops, hasMeta, func(*operation) bool { return true }))
	p.optTexts(column(ops, hasMeta, func(o *operation) opt[string] { return o.meta.address }))
	p.optTexts(column(ops, hasMeta, func(o *operation) opt[string] { return some(o.meta.agent) }))
	p.optTexts(column(ops, hasMeta, func(o *operation) opt[string] { return some(o.meta.protocol) }))
	p.optTexts(column(ops, hasMeta, func(o *operation) opt[string] { return o.meta.capabilities }))
	p.optInt4s(column(ops, hasMeta, func(o *operation) opt[int32] { return some(o.meta.size) }))

	p.optTexts(column(ops, isNew, func(o *operation) opt[string] { return o.kind }))
	p.optTexts(column(ops, isNew, func(o *operation) opt[string] { return o.user }))
	p.int4s(column(ops, isNew, func(o *operation) int32 { return o.userSize }))
	p.int8s(column(ops, isCreate, func(o *operation) int64 { return int64(o.limit.PerUser) }))
	p.bools(column(ops, isCreate, func(o *operation) bool { return o.limit.Refuse }))
	p.int8s(column(ops, isCreate, func(o *operation) int64 { return int64(o.limit.Total) }))

	p.texts(column(ops, endsSome, func(o *operation) string { return o.by }))
	p.texts(column(ops, endsSome, func(o *operation) string { return o.why }))
	p.texts(column(ops, setsOwner, func(o *operation) string { return o.owner }))

	for n := range 4 {
		p.int8s(column(ops, isImport, func(o *operation) int64 { return o.times[n] }))
	}
	p.byteses(column(ops, isImport, func(o *operation) []byte { return o.previous }))
	p.optInt8s(column(ops, isImport, func(o *operation) opt[int64] { return o.previousUntil }))
}
