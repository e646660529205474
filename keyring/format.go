package keyring

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// formatVersion is the newest format of a key file. Each release writes the
// newest and reads the one before too.
const formatVersion = 1

// maxFile bounds a key file.
const maxFile = 1 << 20

// fileForm is the JSON of a key file. Material is base64, wrapped if there is a
// master key.
type fileForm struct {
	Version int       `json:"version"`
	Master  string    `json:"master,omitempty"`
	Root    string    `json:"root"`
	Keys    []keyForm `json:"keys"`
}

type keyForm struct {
	Info
	Secret string `json:"secret,omitempty"` // none if revoked
}

// encode returns the keys as a file has them, and wraps what is not yet.
func (k *keys) encode(ctx context.Context, m Master) ([]byte, error) {
	f := fileForm{Version: formatVersion}
	if m != nil {
		f.Master = m.Name()
	}
	var err error
	if f.Root, err = k.root.wrap(ctx, m, "root"); err != nil {
		return nil, err
	}
	for _, key := range k.list {
		kf := keyForm{Info: key.info}
		if key.material != nil {
			if kf.Secret, err = key.material.wrap(ctx, m, "key "+key.info.ID); err != nil {
				return nil, err
			}
		}
		f.Keys = append(f.Keys, kf)
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the key ring: %w", err)
	}
	return append(b, '\n'), nil
}

func (mat *material) wrap(ctx context.Context, m Master, what string) (string, error) {
	if mat.wrapped != "" {
		return mat.wrapped, nil
	}
	b := mat.secret.Bytes()
	if m != nil {
		var err error
		if b, err = m.Wrap(ctx, b, wrapContext(what)); err != nil {
			return "", fmt.Errorf("wrap the %s with master key %s: %w", what, m.Name(), err)
		}
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

func wrapContext(what string) []byte { return []byte("coatcheck/1/" + what) }

// decode reads a file. Material that stands there as it did in known is not
// unwrapped again.
func decode(ctx context.Context, b []byte, m Master, known *keys) (*keys, error) {
	f, err := parseFile(b)
	if err != nil {
		return nil, err
	}
	if name := masterName(m); f.Master != name {
		return nil, fmt.Errorf("%w: the file needs %s, given is %s", ErrMaster, orNone(f.Master), orNone(name))
	}
	seen := map[string]*material{}
	if known != nil {
		for _, k := range known.list {
			if k.material != nil {
				seen[k.info.ID+" "+k.material.wrapped] = k.material
			}
		}
		seen[" "+known.root.wrapped] = known.root
	}
	k := &keys{}
	if k.root, err = unwrap(ctx, m, f.Root, "root", seen[" "+f.Root]); err != nil {
		return nil, err
	}
	for _, kf := range f.Keys {
		key := &Key{info: kf.Info}
		if kf.State != Revoked {
			key.material, err = unwrap(ctx, m, kf.Secret, "key "+kf.ID, seen[kf.ID+" "+kf.Secret])
			if err != nil {
				return nil, err
			}
		}
		k.list = append(k.list, key)
	}
	return k, nil
}

// parseFile reads the JSON and checks what needs no key. Its errors repeat
// nothing of the file.
func parseFile(b []byte) (*fileForm, error) {
	malformed := func(why string) error { return fmt.Errorf("%w: %s", ErrMalformedRing, why) }
	var head struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(b, &head) != nil {
		return nil, malformed("it is not JSON")
	}
	if head.Version > formatVersion {
		return nil, malformed(fmt.Sprintf("version %d was written by a newer release: use that", head.Version))
	}
	if head.Version != formatVersion {
		return nil, malformed(fmt.Sprintf("version %d is not known", head.Version))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var f fileForm
	if d.Decode(&f) != nil {
		return nil, malformed("a field is unknown or of another type")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed("something follows the ring")
	}
	if why := f.check(); why != "" {
		return nil, malformed(why)
	}
	return &f, nil
}

// check says what is wrong with the keys, or nothing.
func (f *fileForm) check() string {
	active := 0
	ids := map[string]bool{}
	for _, k := range f.Keys {
		switch {
		case !validID(k.ID):
			return "the name of a key is not made of 1 to 32 of a-z, 0-9 and '-'"
		case ids[k.ID]:
			return "two keys are named " + k.ID
		case (k.State == Revoked) != (k.Secret == ""):
			return "key " + k.ID + ": a revoked key, and no other, is without a secret"
		}
		ids[k.ID] = true
		switch k.State {
		case Active:
			active++
		case Created, Retired, Revoked:
		default:
			return "the state of key " + k.ID + " is not known"
		}
	}
	if active != 1 {
		return fmt.Sprintf("%d keys are active, want exactly one", active)
	}
	return ""
}

func unwrap(ctx context.Context, m Master, text, what string, known *material) (*material, error) {
	if known != nil {
		return known, nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: the %s is not base64", ErrMalformedRing, what)
	}
	if m != nil {
		if b, err = m.Unwrap(ctx, b, wrapContext(what)); err != nil {
			return nil, fmt.Errorf("unwrap the %s with master key %s: %w", what, m.Name(), err)
		}
	}
	secret, err := SecretFromBytes(b)
	if err != nil {
		return nil, fmt.Errorf("%w: the %s has not %d bytes", ErrMalformedRing, what, SecretSize)
	}
	return &material{secret: secret, wrapped: text}, nil
}

func masterName(m Master) string {
	if m == nil {
		return ""
	}
	return m.Name()
}

func orNone(name string) string {
	if name == "" {
		return "none"
	}
	return fmt.Sprintf("%q", name)
}
