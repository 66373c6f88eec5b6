// SPDX-License-Identifier: Apache-2.0
// A java program with a real heap: the lines and words of text files in
// collections. Arguments: how many bytes of text, then the files.
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

public class Collections {
  record Place(int file, int line, int column) {}

  public static void main(String[] args) throws Exception {
    long left = Long.parseLong(args[0]);
    Map<String, List<Place>> words = new HashMap<>();
    Map<String, Integer> lines = new TreeMap<>();
    List<String> texts = new ArrayList<>();
    for (int file = 1; file < args.length && left > 0; file++) {
      byte[] bytes = Files.readAllBytes(Path.of(args[file]));
      left -= bytes.length;
      String text = new String(bytes, StandardCharsets.UTF_8);
      texts.add(text);
      int number = 0;
      for (String line : text.split("\n")) {
        lines.merge(line.strip(), 1, Integer::sum);
        int column = 0;
        for (String word : line.split("\\W+")) {
          words.computeIfAbsent(word, w -> new ArrayList<>())
              .add(new Place(file, number, column++));
        }
        number++;
      }
    }
    System.gc();
    System.out.println("ready");
    System.out.flush();
    System.in.read();
    if (words.size() + lines.size() + texts.size() == 0) System.exit(1);
  }
}
