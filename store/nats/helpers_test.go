package nats_test

import (
	"github.com/coatcheck-mcp/coatcheck/internal/testkit"
	"github.com/coatcheck-mcp/coatcheck/internal/testkit/history"
)

const patience = testkit.Patience

// These are used in every test of this package.
var (
	newKey, creation, data, newID = history.NewKey, history.Creation, history.Data, history.NewID
	do, create, revocation        = history.Do, history.Create, history.Revocation
	within, eventually, await     = testkit.Within, testkit.Eventually, testkit.Await
)
