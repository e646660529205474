package main

import (
	"errors"
	"net/http"
	"os"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/admin"
)

// tokenFlags say with what the admin listener is protected, for the server and
// for who asks it.
type tokenFlags struct {
	AdminTokenFile string `placeholder:"FILE" help:"Holds the bearer token of the admin listener; a server needs one if --admin-listen is not loopback."`
}

// adminFlags name a server that is asked in place of the store.
type adminFlags struct {
	Admin      string `placeholder:"URL" help:"Ask the server whose admin listener is at this URL, such as http://127.0.0.1:8081, in place of the store: for one that only the server can open."`
	tokenFlags `embed:""`
}

func (f *adminFlags) client() (*admin.Client, error) {
	token, err := readAdminToken(f.AdminTokenFile)
	if err != nil {
		return nil, usagef("--admin-token-file: %w", err)
	}
	// Of its own, so that nothing is left open when the command ends.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	c, err := admin.NewClient(f.Admin, admin.ClientOptions{Token: token, HTTP: &http.Client{Transport: transport}})
	if err != nil {
		return nil, usagef("--admin: %w", err)
	}
	return c, nil
}

// minAdminToken is the length under which a token can be guessed.
const minAdminToken = 16

func readAdminToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if len(token) < minAdminToken || strings.ContainsAny(token, " \t\r\n") {
		return "", errors.New("the file must hold one token of at least 16 characters")
	}
	return token, nil
}
