// gomemcache: the text protocol; two nodes by crc32 modulo their number.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

const (
	keys       = 500
	nodeKeys   = 200
	raceRounds = 1000
	mib        = 1 << 20
	largest    = mib - 100
	pause      = 3200 * time.Millisecond
)

var input = bufio.NewReader(os.Stdin)

func check(text string, isRight bool, detail interface{}) {
	if isRight {
		fmt.Printf("ok - %s\n", text)
	} else {
		fmt.Printf("not ok - %s: %.250s\n", text, strings.ReplaceAll(fmt.Sprint(detail), "\n", " "))
	}
}

func equal(text string, got, wanted interface{}) {
	check(text, reflect.DeepEqual(got, wanted), fmt.Sprintf("got %v, not %v", got, wanted))
}

func ask(line string) []string {
	fmt.Println(line)
	answer, _ := input.ReadString('\n')
	words := strings.Fields(answer)
	if len(words) == 0 || words[0] != "done" {
		panic("no answer")
	}
	return words[1:]
}

func connect(servers ...string) *memcache.Client {
	client := memcache.New(servers...)
	client.Timeout = 5 * time.Second
	return client
}

func item(key, value string) *memcache.Item {
	return &memcache.Item{Key: key, Value: []byte(value)}
}

// get returns the value, or the error's text.
func get(client *memcache.Client, key string) string {
	found, err := client.Get(key)
	if err != nil {
		return err.Error()
	}
	return string(found.Value)
}

func getMulti(client *memcache.Client, wanted []string) map[string]string {
	items, _ := client.GetMulti(wanted)
	values := map[string]string{}
	for key, found := range items {
		values[key] = string(found.Value)
	}
	return values
}

var miss = memcache.ErrCacheMiss.Error()

func checkValues(client *memcache.Client) {
	binary := []byte("END\r\n\x00\r\nVALUE x 0 1\r\n")
	for i := 0; i < 256; i++ {
		binary = append(binary, byte(i))
	}
	equal("Set stores", client.Set(item("a", "one")), nil)
	equal("Get returns what was set", get(client, "a"), "one")
	client.Set(&memcache.Item{Key: "flags", Value: []byte("x"), Flags: 0xfffffffe})
	flagged, _ := client.Get("flags")
	equal("flags of 32 bits come back", flagged.Flags, uint32(0xfffffffe))
	equal("Get of a missing key is a miss", get(client, "missing"), miss)
	client.Set(item("binary", string(binary)))
	equal("a value may hold any byte", get(client, "binary"), string(binary))
	client.Set(item("empty", ""))
	equal("a value may be empty", get(client, "empty"), "")
	client.Set(item(strings.Repeat("k", 250), "long"))
	equal("a key may have 250 bytes", get(client, strings.Repeat("k", 250)), "long")
	equal("a key of 251 bytes is refused", client.Set(item(strings.Repeat("k", 251), "x")), memcache.ErrMalformedKey)
	equal("Add stores a new key", client.Add(item("new", "1")), nil)
	equal("Add refuses a known key", client.Add(item("new", "2")), memcache.ErrNotStored)
	equal("Replace stores a known key", client.Replace(item("new", "3")), nil)
	equal("Replace refuses a new key", client.Replace(item("other", "1")), memcache.ErrNotStored)
	equal("the value is the last one stored", get(client, "new"), "3")
	equal("Delete of a known key", client.Delete("new"), nil)
	equal("Delete of a missing key", client.Delete("new"), memcache.ErrCacheMiss)
}

func checkMany(client *memcache.Client) {
	values := map[string]string{}
	var known, mixed []string
	for i := 0; i < keys; i++ {
		key := fmt.Sprintf("many:%d", i)
		values[key] = fmt.Sprintf("value %d", i)
		known = append(known, key)
		mixed = append(mixed, key, fmt.Sprintf("none:%d", i))
	}
	// Over many connections at once, as a Go program does.
	results := make(chan error)
	for key, value := range values {
		go func(key, value string) { results <- client.Set(item(key, value)) }(key, value)
	}
	failed := 0
	for range values {
		if <-results != nil {
			failed++
		}
	}
	equal(fmt.Sprintf("%d Sets at once are stored", keys), failed, 0)
	equal(fmt.Sprintf("GetMulti returns %d keys", keys), getMulti(client, known), values)
	equal("GetMulti leaves out what is missing", getMulti(client, mixed), values)
}

func checkSizes(client *memcache.Client) {
	noise := make([]byte, 2*mib)
	rand.New(rand.NewSource(1)).Read(noise)
	equal("the largest value is stored", client.Set(&memcache.Item{Key: "large", Value: noise[:largest]}), nil)
	found, err := client.Get("large")
	check("the largest value comes back", err == nil && bytes.Equal(found.Value, noise[:largest]), err)
	err = client.Set(&memcache.Item{Key: "large", Value: noise[:mib]})
	check("1 MiB is refused", err != nil && strings.Contains(err.Error(), "too large"), err)
	equal("a refused Set leaves no old value", get(client, "large"), miss)
	err = client.Set(&memcache.Item{Key: "large", Value: noise})
	check("2 MiB is refused", err != nil && strings.Contains(err.Error(), "too large"), err)
	client.Set(item("large", "small"))
	equal("the client works on after it", get(client, "large"), "small")
}

func checkCas(client *memcache.Client) {
	client.Set(item("cas", "0"))
	first, _ := client.Get("cas")
	second, _ := client.Get("cas")
	equal("CompareAndSwap with the current value is stored", client.CompareAndSwap(first), nil)
	equal("CompareAndSwap with an old value is not", client.CompareAndSwap(second), memcache.ErrCASConflict)
	client.Delete("cas")
	equal("CompareAndSwap of a missing key is a miss", client.CompareAndSwap(second), memcache.ErrCacheMiss)
	client.Set(item("race", "0"))
	lost := ask(fmt.Sprintf("race race %d", raceRounds))[0]
	equal("two processes lose no increment", get(client, "race"), strconv.Itoa(2*raceRounds))
	check("they did meet", lost != "0", "no round was lost")
}

func checkCounters(client *memcache.Client) {
	number := func(value uint64, err error) interface{} {
		if err != nil {
			return err
		}
		return value
	}
	client.Set(item("counter", "10"))
	equal("Increment adds", number(client.Increment("counter", 5)), uint64(15))
	equal("Decrement subtracts", number(client.Decrement("counter", 6)), uint64(9))
	equal("Decrement stops at 0", number(client.Decrement("counter", 100)), uint64(0))
	equal("Increment of a missing key is a miss", number(client.Increment("none", 1)), memcache.ErrCacheMiss)
	client.Set(item("counter", "18446744073709551615"))
	equal("Increment wraps at 64 bits", number(client.Increment("counter", 2)), uint64(1))
	client.Set(item("counter", "word"))
	_, err := client.Increment("counter", 1)
	check("Increment of a word is refused", err != nil && strings.Contains(err.Error(), "client error"), err)
}

func checkTime(client *memcache.Client) {
	set := func(key string, seconds int64) {
		client.Set(&memcache.Item{Key: key, Value: []byte("1"), Expiration: int32(seconds)})
	}
	set("short", 2)
	set("absolute", time.Now().Unix()+2)
	set("touched", 2)
	set("shortened", 100)
	set("forever", 0)
	equal("a value lives until it expires", get(client, "short"), "1")
	equal("Touch finds the key", client.Touch("touched", 100), nil)
	equal("Touch can shorten", client.Touch("shortened", 2), nil)
	equal("Touch of a missing key is a miss", client.Touch("missing", 100), memcache.ErrCacheMiss)
	set("past", -1)
	equal("a negative time is over at once", get(client, "past"), miss)
	time.Sleep(pause)
	equal("a relative time ends", get(client, "short"), miss)
	equal("an absolute time ends", get(client, "absolute"), miss)
	equal("Touch kept its key", get(client, "touched"), "1")
	equal("Touch shortened its key", get(client, "shortened"), miss)
	equal("no time is for ever", get(client, "forever"), "1")
}

func checkAdmin(client *memcache.Client) {
	equal("FlushAll answers", client.FlushAll(), nil)
	equal("FlushAll empties", get(client, "forever"), miss)
}

func checkRestart(client *memcache.Client) {
	client.Set(item("kept", "1"))
	ask("restart 0")
	var err error
	for try := 0; try < 50; try++ {
		if err = client.Set(item("again", "2")); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	equal("after a restart the same client stores again", err, nil)
	equal("and reads it", get(client, "again"), "2")
	equal("and the cache was empty", get(client, "kept"), miss)
}

// This client has no failover: a dead node's keys are errors until it is back.
func checkNodes(one, two string) {
	client := connect(one, two)
	values := map[string]string{}
	var all []string
	for i := 0; i < nodeKeys; i++ {
		key := fmt.Sprintf("node:%d", i)
		values[key] = strconv.Itoa(i)
		all = append(all, key)
	}
	stored := func() int {
		count := 0
		for key, value := range values {
			if client.Set(item(key, value)) == nil {
				count++
			}
		}
		return count
	}
	equal("two nodes: every key is stored", stored(), nodeKeys)
	equal("two nodes: every key is found", getMulti(client, all), values)
	onOne, onTwo := getMulti(connect(one), all), getMulti(connect(two), all)
	check("two nodes: each holds its part",
		len(onOne) > 0 && len(onTwo) > 0 && len(onOne)+len(onTwo) == nodeKeys, []int{len(onOne), len(onTwo)})
	ask("stop 2")
	found := map[string]string{}
	for _, key := range all {
		if one, err := client.Get(key); err == nil {
			found[key] = string(one.Value)
		}
	}
	equal("a node dies: the other's keys stay", found, onOne)
	equal("a node dies: GetMulti returns the rest", getMulti(client, all), onOne)
	equal("a node dies: its keys are not stored", stored(), len(onOne))
	ask("start 2")
	for try := 0; try < 50 && client.Set(item("node:0", "0")) != nil; try++ {
		time.Sleep(100 * time.Millisecond)
	}
	equal("the node is back: every key is stored", stored(), nodeKeys)
	equal("the node is back: it has the keys it had", getMulti(connect(two), all), onTwo)
}

func runRace(server, key string, count int) {
	client := connect(server)
	fmt.Println("ready")
	input.ReadString('\n')
	lost := 0
	for round := 0; round < count; {
		found, err := client.Get(key)
		if err != nil {
			panic(err)
		}
		value, _ := strconv.Atoi(string(found.Value))
		found.Value = []byte(strconv.Itoa(value + 1))
		switch err = client.CompareAndSwap(found); err {
		case nil:
			round++
		case memcache.ErrCASConflict:
			lost++
		default:
			panic(err)
		}
	}
	fmt.Println("lost", lost)
}

func main() {
	if os.Args[1] == "race" {
		count, _ := strconv.Atoi(os.Args[4])
		runRace(os.Args[2], os.Args[3], count)
		return
	}
	client := connect(os.Args[1])
	checkValues(client)
	checkMany(client)
	checkSizes(client)
	checkCas(client)
	checkCounters(client)
	checkTime(client)
	checkAdmin(client)
	checkRestart(client)
	checkNodes(os.Args[2], os.Args[3])
	fmt.Println("end")
}
