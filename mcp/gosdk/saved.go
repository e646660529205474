package gosdk

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coatcheck-mcp/coatcheck/session"
)

// savedKey is where the record holds what the protocol knows of a session.
const savedKey = session.ReservedPrefix + "mcp"

// saved is what an activation needs besides the record itself. It is what the
// client was told is so: every change is stored before it is acknowledged.
type saved struct {
	// Initialize is the params of the initialize request, as they came: the
	// client's info and capabilities, and the revision it asked for.
	Initialize  json.RawMessage `json:"initialize"`
	Version     string          `json:"version"` // negotiated
	Initialized bool            `json:"initialized,omitempty"`
	LogLevel    string          `json:"log_level,omitempty"`
	// Subscriptions are the URIs of resources, sorted.
	Subscriptions []string `json:"subscriptions,omitempty"`
}

func savedIn(s *session.Session) (saved, error) {
	var v saved
	found, err := s.Get(savedKey, &v)
	if err == nil && !found {
		err = fmt.Errorf("session %s was not started by an MCP client", s.Ref)
	}
	return v, err
}

// state returns what the SDK restores a session from.
func (v *saved) state() (*mcp.ServerSessionState, error) {
	params, err := initializeParams(v.Initialize)
	if err != nil {
		return nil, err
	}
	st := &mcp.ServerSessionState{
		InitializeParams:          params,
		NegotiatedProtocolVersion: v.Version,
	}
	//lint:ignore SA1019 legacy clients have logging
	st.LogLevel = mcp.LoggingLevel(v.LogLevel)
	if v.Initialized {
		st.InitializedParams = &mcp.InitializedParams{}
	}
	return st, nil
}

func (v *saved) subscribe(uri string) {
	if i, found := slices.BinarySearch(v.Subscriptions, uri); !found {
		v.Subscriptions = slices.Insert(v.Subscriptions, i, uri)
	}
}

func (v *saved) unsubscribe(uri string) {
	if i, found := slices.BinarySearch(v.Subscriptions, uri); found {
		v.Subscriptions = slices.Delete(v.Subscriptions, i, i+1)
	}
}

// initializeParams decodes the params of an initialize request as the SDK
// does, which keeps the presence of "roots" in a field without a JSON name.
func initializeParams(raw json.RawMessage) (*mcp.InitializeParams, error) {
	var params *mcp.InitializeParams
	if err := json.Unmarshal(raw, &params); err != nil || params == nil {
		return nil, fmt.Errorf("params of initialize are no object of the right shape")
	}
	var extra struct {
		Capabilities struct {
			//lint:ignore SA1019 legacy clients have roots
			Roots *mcp.RootCapabilities `json:"roots"`
		} `json:"capabilities"`
	}
	if err := json.Unmarshal(raw, &extra); err != nil {
		return nil, fmt.Errorf("capabilities of initialize are not of the right shape")
	}
	if params.Capabilities != nil {
		//lint:ignore SA1019 legacy clients have roots
		params.Capabilities.RootsV2 = extra.Capabilities.Roots
	}
	return params, nil
}
