package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"sort"
	"strconv"
	"syscall"

	"github.com/pingcap/kvproto/pkg/metapb"
)

// controlHandler takes `POST /<what>` with a JSON object, and gives the state as one.
func (c *cluster) controlHandler() http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, do func(q controlRequest) error) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			var q controlRequest
			if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			if err := do(q); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_ = json.NewEncoder(w).Encode(c.state())
		})
	}
	handle("/state", func(q controlRequest) error { return nil })
	handle("/reset", func(q controlRequest) error { c.faults.reset(); return nil })
	handle("/fault", func(q controlRequest) error { f := q.fault; c.faults.add(&f); return nil })
	handle("/split", c.split)
	handle("/merge", c.merge)
	handle("/leader", c.moveLeader)
	handle("/stop", func(q controlRequest) error { return c.onServer(q.Server, (*server).halt) })
	handle("/start", func(q controlRequest) error { return c.onServer(q.Server, (*server).start) })
	handle("/freeze", func(q controlRequest) error {
		return c.onServer(q.Server, func(s *server) error { return s.ice.freeze() })
	})
	handle("/thaw", func(q controlRequest) error {
		return c.onServer(q.Server, func(s *server) error { return s.ice.thaw() })
	})
	handle("/driver", func(q controlRequest) error { c.leader.Store(int32(q.Store)); return nil })
	handle("/remove-store", c.removeStore)
	handle("/readdress", c.readdress)
	handle("/safe-point", func(q controlRequest) error { return c.setSafePoint(q) })
	return mux
}

type controlRequest struct {
	fault
	// Raw key, in hex.
	Key    string `json:"key"`
	Store  int    `json:"store"`
	Server string `json:"server"`
	// `gc`: that of the cluster, as a client sets it. `worker`: that of the service which TiDB collects garbage by.
	Which string `json:"which"`
	Point string `json:"point"`
}

func (s *server) halt() error {
	s.stop()
	return nil
}

func (c *cluster) onServer(name string, do func(*server) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.servers[name]
	if s == nil {
		return errors.New("no such server")
	}
	return do(s)
}

func (c *cluster) setSafePoint(q controlRequest) error {
	point, err := strconv.ParseUint(q.Point, 10, 64)
	if err != nil {
		return err
	}
	if q.Which == "worker" {
		c.safe.setWorker(point)
	} else {
		c.safe.raise(point)
	}
	return nil
}

func (c *cluster) regionOf(key string) (*metapb.Region, []byte, error) {
	raw, err := hex.DecodeString(key)
	if err != nil {
		return nil, nil, err
	}
	region, _, _ := c.regions.GetRegionByKey(encodeKey(raw))
	if region == nil {
		return nil, nil, errors.New("no region has that key")
	}
	return region, raw, nil
}

func (c *cluster) split(q controlRequest) error {
	region, raw, err := c.regionOf(q.Key)
	if err != nil || bytes.Equal(region.StartKey, encodeKey(raw)) {
		return err
	}
	_, leader := c.regions.GetRegion(region.Id)
	peers := c.regions.AllocIDs(len(region.Peers))
	newLeader := peers[0]
	for i, peer := range region.Peers {
		if peer.Id == leader {
			newLeader = peers[i]
		}
	}
	c.regions.Split(region.Id, c.regions.AllocID(), raw, peers, newLeader)
	return nil
}

func (c *cluster) merge(q controlRequest) error {
	region, _, err := c.regionOf(q.Key)
	if err != nil {
		return err
	}
	next, _, _ := c.regions.GetRegionByKey(region.EndKey)
	if len(region.EndKey) == 0 || next == nil {
		return errors.New("nothing to merge with")
	}
	c.regions.Merge(region.Id, next.Id)
	return nil
}

func (c *cluster) moveLeader(q controlRequest) error {
	region, _, err := c.regionOf(q.Key)
	if err != nil {
		return err
	}
	for _, peer := range region.Peers {
		if peer.StoreId == c.storeIDs[q.Store] {
			c.regions.ChangeLeader(region.Id, peer.Id)
		}
	}
	return nil
}

// removeStore lets nobody know a store any more. What it leads has no leader that answers, until another one is named.
func (c *cluster) removeStore(q controlRequest) error {
	c.regions.RemoveStore(c.storeIDs[q.Store])
	return nil
}

// readdress lets two stores change their addresses, as when hosts get other numbers.
func (c *cluster) readdress(q controlRequest) error {
	first, second := c.storeIDs[0], c.storeIDs[1]
	a, b := c.regions.GetStore(first).Address, c.regions.GetStore(second).Address
	c.regions.UpdateStoreAddr(first, b)
	c.regions.UpdateStoreAddr(second, a)
	return nil
}

type regionState struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

type state struct {
	Calls        map[string]int    `json:"calls"`
	MaxInFlight  int               `json:"maxInFlight"`
	Regions      []regionState     `json:"regions"`
	ServicePoint map[string]string `json:"servicePoints"`
	// Of this process, which is all of the cluster.
	CPUSeconds float64 `json:"cpuSeconds"`
}

func (c *cluster) state() state {
	s := state{Calls: map[string]int{}, ServicePoint: map[string]string{}, CPUSeconds: cpuSeconds()}
	c.faults.mu.Lock()
	for method, n := range c.faults.calls {
		s.Calls[method] = n
	}
	s.MaxInFlight = c.faults.maxInFlight
	c.faults.mu.Unlock()
	c.safe.mu.Lock()
	for id, p := range c.safe.services {
		s.ServicePoint[id] = strconv.FormatUint(p.Point, 10)
	}
	c.safe.mu.Unlock()
	for _, r := range c.regions.ScanRegions(nil, nil, 0) {
		s.Regions = append(s.Regions, regionState{hex.EncodeToString(r.Meta.StartKey), hex.EncodeToString(r.Meta.EndKey)})
	}
	sort.Slice(s.Regions, func(i, j int) bool { return s.Regions[i].Start < s.Regions[j].Start })
	return s
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// encodeKey is the order-preserving form in which regions have their keys.
func encodeKey(raw []byte) []byte {
	var out []byte
	for i := 0; ; i += 8 {
		group := make([]byte, 9)
		n := copy(group[:8], raw[min(i, len(raw)):])
		group[8] = byte(0xff - (8 - n))
		out = append(out, group...)
		if n < 8 {
			return out
		}
	}
}
