// A placement driver and TiKV stores in one process, for tests: the in-memory store of client-go behind the gRPC services that real
// clients call, with a control server to split regions, move leaders, stop servers and inject errors.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pingcap/kvproto/pkg/pdpb"
	"github.com/tikv/client-go/v2/testutils"
	pd "github.com/tikv/pd/client"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

const clusterID = 7001

// maxAnswer is what a store of TiKV sends by default (server.max-grpc-send-msg-len).
const maxAnswer = 10 << 20

// cluster is what all servers share.
type cluster struct {
	client   *testutils.MockClient
	regions  *testutils.MockCluster
	pd       pd.Client
	faults   *faultTable
	safe     *safePoints
	async    *asyncLocks
	pdAddrs  []string
	storeIDs []uint64
	secure   bool
	delay    time.Duration
	// Index of the placement driver that leads.
	leader atomic.Int32

	mu      sync.Mutex
	servers map[string]*server
}

// server is one listener that can be stopped and started again at the same address, or frozen: then its connections stay, and new
// ones are made, but nothing is read from them, as from a process that was stopped by SIGSTOP.
type server struct {
	addr  string
	build func() *grpc.Server
	grpc  *grpc.Server
	ice   ice
}

func (s *server) start() error {
	if s.grpc != nil {
		return nil
	}
	var listener net.Listener
	var err error
	for i := 0; i < 50; i++ {
		if listener, err = net.Listen("tcp", s.addr); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	s.grpc = s.build()
	go s.grpc.Serve(frozenListener{listener, &s.ice})
	return nil
}

func (s *server) stop() {
	if s.grpc != nil {
		s.grpc.Stop()
		s.grpc = nil
	}
}

func main() {
	pdAddrs := flag.String("pd", "127.0.0.1:23790", "addresses of the placement driver; the first one leads")
	storeAddrs := flag.String("stores", "127.0.0.1:23791", "addresses of the stores")
	control := flag.String("control", "127.0.0.1:23792", "address of the control server")
	toldPD := flag.String("told-pd", "", "addresses by which clients are told to reach the placement driver, as through proxies")
	toldStores := flag.String("told-stores", "", "the same for the stores")
	delay := flag.Duration("delay", 0, "time that each request takes longer than it has to, as in a network")
	async := flag.Bool("async-commit", false, "keep locks of transactions with asynchronous commit as such")
	ca := flag.String("ca", "", "certificate authority of clients; with it all servers speak TLS")
	cert := flag.String("cert", "", "certificate of the servers")
	key := flag.String("key", "", "key of the servers")
	flag.Parse()

	client, regions, pdClient, err := testutils.NewMockTiKV("", nil)
	if err != nil {
		log.Fatal(err)
	}
	pds, addrs := strings.Split(*pdAddrs, ","), strings.Split(*storeAddrs, ",")
	toldPDs, toldAddrs := told(*toldPD, pds), told(*toldStores, addrs)
	storeIDs, _, _, _ := testutils.BootstrapWithMultiStores(regions, len(addrs))
	for i, addr := range toldAddrs {
		regions.UpdateStoreAddr(storeIDs[i], addr)
	}
	c := &cluster{
		client:   client,
		regions:  regions,
		pd:       pdClient,
		faults:   newFaultTable(),
		safe:     newSafePoints(),
		async:    newAsyncLocks(*async),
		pdAddrs:  toldPDs,
		storeIDs: storeIDs,
		secure:   *ca != "",
		delay:    *delay,
		servers:  map[string]*server{},
	}
	options := c.options(*ca, *cert, *key)
	for i, addr := range pds {
		build := func() *grpc.Server {
			s := grpc.NewServer(options...)
			pdpb.RegisterPDServer(s, &pdServer{c: c, index: int32(i)})
			etcdserverpb.RegisterKVServer(s, &etcdServer{})
			return s
		}
		c.servers["pd"+string(rune('0'+i))] = &server{addr: addr, build: build}
	}
	for i, addr := range addrs {
		store := &storeServer{c: c, addr: toldAddrs[i]} // the in-memory store finds it by that
		build := func() *grpc.Server {
			s := grpc.NewServer(options...)
			s.RegisterService(store.description(), store)
			return s
		}
		c.servers["store"+string(rune('0'+i))] = &server{addr: addr, build: build}
	}
	for name, s := range c.servers {
		if err := s.start(); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
	}
	log.Fatal(http.ListenAndServe(*control, c.controlHandler()))
}

func told(addresses string, own []string) []string {
	if addresses == "" {
		return own
	}
	return strings.Split(addresses, ",")
}

func (c *cluster) options(ca, cert, key string) []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(64 << 20),
		grpc.MaxSendMsgSize(maxAnswer),
		// as servers do, whose clients ask every ten seconds whether they are alive
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	}
	if c.delay > 0 {
		options = append(options, grpc.UnaryInterceptor(c.delayed))
	}
	if ca == "" {
		return options
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		log.Fatal(err)
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	config := &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}
	return append(options, grpc.Creds(credentials.NewTLS(config)))
}

// delayed is for the placement driver; stores wait by themselves, also for each part of a batch.
func (c *cluster) delayed(ctx context.Context, q any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	time.Sleep(c.delay)
	return next(ctx, q)
}
