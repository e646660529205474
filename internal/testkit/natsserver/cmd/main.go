// Command cmd is a NATS server with JetStream, for tests: that of the Go module,
// as a process of its own.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	opts := &server.Options{Host: "127.0.0.1", HTTPHost: "127.0.0.1", JetStream: true, NoSigs: true}
	flag.BoolVar(&opts.SyncAlways, "sync", true, "each write")
	flag.StringVar(&opts.ServerName, "name", "", "of the server")
	flag.IntVar(&opts.Port, "port", 0, "for clients")
	flag.StringVar(&opts.StoreDir, "dir", "", "of JetStream")
	flag.StringVar(&opts.Username, "user", "", "of clients")
	flag.StringVar(&opts.Password, "password", "", "of clients")
	flag.IntVar(&opts.HTTPPort, "monitor", 0, "port that tells how the server is; 0: none")
	flag.StringVar(&opts.TLSCert, "cert", "", "file with the certificate; clients then use TLS")
	flag.StringVar(&opts.TLSKey, "key", "", "file with its key")
	flag.StringVar(&opts.TLSCaCert, "ca", "", "file with who signs the certificates of clients, which then need one")
	advertise := flag.String("advertise", "", "address that other servers tell one another")
	cluster := flag.Int("cluster", 0, "port for other servers")
	routes := flag.String("routes", "", "URLs of other servers")
	flag.Parse()
	if *cluster != 0 {
		opts.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: *cluster, Advertise: *advertise}
		opts.Routes = server.RoutesFromStr(*routes)
	}
	if err := useTLS(opts); err != nil {
		fail(err)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		fail(err)
	}
	s.SetLoggerV2(stderr{}, false, false, false)
	s.Start()
	s.WaitForShutdown()
}

// useTLS reads the certificates that the options name.
func useTLS(opts *server.Options) error {
	if opts.TLSCert == "" {
		return nil
	}
	config, err := server.GenTLSConfig(&server.TLSConfigOpts{
		CertFile: opts.TLSCert, KeyFile: opts.TLSKey, CaFile: opts.TLSCaCert, Verify: opts.TLSCaCert != "",
	})
	opts.TLS, opts.TLSVerify, opts.TLSConfig, opts.TLSTimeout = true, opts.TLSCaCert != "", config, 60
	return err
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// stderr logs what a test's failure is to show.
type stderr struct{}

func (stderr) Noticef(string, ...any)         {}
func (stderr) Debugf(string, ...any)          {}
func (stderr) Tracef(string, ...any)          {}
func (stderr) Warnf(format string, v ...any)  { fmt.Fprintf(os.Stderr, format+"\n", v...) }
func (stderr) Errorf(format string, v ...any) { fmt.Fprintf(os.Stderr, format+"\n", v...) }
func (stderr) Fatalf(format string, v ...any) { fmt.Fprintf(os.Stderr, format+"\n", v...); os.Exit(1) }
