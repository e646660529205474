package sqlite

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// encodeData writes data as one JSON object, keys in order. Values go in as
// they are, byte for byte; [json.Marshal] would rewrite them.
func encodeData(data map[string]json.RawMessage) ([]byte, error) {
	size := 2
	for k, v := range data {
		size += len(k) + len(v) + 4
	}
	buf := bytes.NewBuffer(make([]byte, 0, size))
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	buf.WriteByte('{')
	for i, k := range slices.Sorted(maps.Keys(data)) {
		if i > 0 {
			buf.WriteByte(',')
		}
		if err := enc.Encode(k); err != nil {
			return nil, err
		}
		buf.Truncate(buf.Len() - 1) // the newline of Encode
		buf.WriteByte(':')
		buf.Write(data[k])
	}
	buf.WriteByte('}')
	return buf.Bytes(), nil
}

// decodeData is the reverse of encodeData. It copies text.
func decodeData(text []byte) (map[string]json.RawMessage, error) {
	data := map[string]json.RawMessage{}
	if string(text) == "{}" {
		return data, nil
	}
	if err := json.Unmarshal(text, &data); err != nil {
		return nil, corrupt("data", err)
	}
	if data == nil { // "null"
		return nil, corrupt("data", state.ErrInvalid)
	}
	return data, nil
}
