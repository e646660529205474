package history

import (
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/coatcheck-mcp/coatcheck/state"
	"github.com/coatcheck-mcp/coatcheck/store/memory"
)

func TestModelRefusesWrongHistories(t *testing.T) {
	key := NewKey(t, 1)
	at := func(from, to int64, op state.Op, out told) porcupine.Operation {
		return porcupine.Operation{Input: asked{op}, Call: from, Output: out, Return: to}
	}
	made := at(1, 2, Creation(key, "a"), told{version: 1})
	for name, ops := range map[string][]porcupine.Operation{
		"lost update":  {made, at(3, 4, state.UpdateOp{Key: key, Version: 1, Data: Data(7)}, told{version: 2}), at(5, 6, nil, told{version: 1, value: "0"})},
		"resurrection": {made, at(3, 4, state.DeleteOp{Key: key}, told{ended: true}), at(5, 6, nil, told{version: 1, value: "0"})},
		"two winners": {made, at(3, 6, state.UpdateOp{Key: key, Version: 1, Data: Data(7)}, told{version: 2}),
			at(3, 6, state.UpdateOp{Key: key, Version: 1, Data: Data(8)}, told{version: 2})},
	} {
		if porcupine.CheckOperations(model(), ops) {
			t.Errorf("%s: the model allows it", name)
		}
	}
}

func TestHistoryOfAStoreInMemoryIsLinearizable(t *testing.T) {
	s := memory.New(memory.Options{})
	defer s.Close()
	if unknown := Run(t, s, 2, func(reached func(int64)) { reached(100) }); unknown != 0 {
		t.Errorf("%d operations of unknown outcome", unknown)
	}
}
