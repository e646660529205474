package embedded

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/coatcheck-mcp/coatcheck/state"
)

// SecretVariable is the environment variable that has the secret of a URL
// without secret-file.
const SecretVariable = "COATCHECK_CLUSTER_SECRET"

// These are the values of sync, which says when a write is on disk.
const (
	syncEach  = "always"
	syncTimed = "interval"
)

const urlForm = "write cluster:?name=NODE&listen=HOST:PORT&peers=HOST:PORT,HOST:PORT,HOST:PORT"

// known are the parameters of a URL, with what each sets.
var known = map[string]func(*Options, string) error{
	"name":        func(o *Options, v string) error { o.Name = v; return nil },
	"listen":      func(o *Options, v string) error { o.Listen = v; return nil },
	"peers":       func(o *Options, v string) error { o.Peers = strings.Split(v, ","); return nil },
	"dir":         func(o *Options, v string) error { o.Dir = v; return nil },
	"secret-file": func(o *Options, v string) error { o.SecretFile = v; return nil },
	"nodes":       func(o *Options, v string) error { return number(&o.Nodes, v) },
	"replicas":    func(o *Options, v string) error { return number(&o.Replicas, v) },
	"mirrors":     func(o *Options, v string) error { return number(&o.Mirrors, v) },
	"sync":        setSync,
	"replication": func(o *Options, v string) (err error) { o.Level, err = state.ParseReplication(v); return err },
	"tls-cert":    func(o *Options, v string) error { o.files().Cert = v; return nil },
	"tls-key":     func(o *Options, v string) error { o.files().Key = v; return nil },
	"tls-ca":      func(o *Options, v string) error { o.files().CA = v; return nil },
}

// ParseURL reads cluster:?name=a&listen=HOST:PORT and more parameters: peers,
// with commas between them, nodes, replicas, replication (Level), mirrors, dir,
// secret-file, tls-cert, tls-key, tls-ca as the [Options] of these names, and
// sync=always, the default, or sync=interval, which is NoSync. Without dir the folder is
// coatcheck-data/NAME. It checks what can be checked without reaching out. Its
// errors repeat no secret.
func ParseURL(text string) (Options, error) {
	var opts Options
	query, ok := strings.CutPrefix(text, "cluster:?")
	if !ok {
		return opts, errors.New("a cluster has nothing but parameters: " + urlForm)
	}
	params, err := url.ParseQuery(query)
	if err != nil {
		return opts, errors.New("the parameters cannot be read: write % as %25, and " + urlForm[len("write "):])
	}
	for name, values := range params {
		set := known[name]
		switch {
		case set == nil:
			return opts, fmt.Errorf("parameter %q is not known: those of cluster: are %s", name, strings.Join(names(), ", "))
		case len(values) > 1:
			return opts, fmt.Errorf("%s is there twice: write it once", name)
		case values[0] == "":
			return opts, fmt.Errorf("%s is empty: leave it out, or write a value", name)
		}
		if err := set(&opts, values[0]); err != nil {
			return opts, fmt.Errorf("%s: %w", name, err)
		}
	}
	if opts.Dir == "" && opts.Name != "" {
		opts.Dir = filepath.Join("coatcheck-data", opts.Name)
	}
	if opts.SecretFile == "" {
		opts.Secret = os.Getenv(SecretVariable)
	}
	if t := opts.TLS; t != nil && (t.Cert == "" || t.Key == "" || t.CA == "") {
		return opts, errTLS
	}
	return opts, opts.check()
}

func names() []string {
	var all []string
	for name := range known {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func number(into *int, text string) (err error) {
	if *into, err = strconv.Atoi(text); err != nil || *into < 1 {
		return fmt.Errorf("%q is no number of nodes: write one such as 3", text)
	}
	return nil
}

func setSync(o *Options, text string) error {
	if text != syncEach && text != syncTimed {
		return fmt.Errorf("%q is not known: write %s or %s", text, syncEach, syncTimed)
	}
	o.NoSync = text == syncTimed
	return nil
}

// files are those of TLS.
func (o *Options) files() *TLS {
	if o.TLS == nil {
		o.TLS = &TLS{}
	}
	return o.TLS
}
