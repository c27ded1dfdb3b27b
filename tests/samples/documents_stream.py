# Install: pip install backboard-sdk
import asyncio
import time
from backboard import BackboardClient

async def main():
    # Initialize the Backboard client
    client = BackboardClient(api_key="YOUR_API_KEY")
    
    # Create an assistant
    assistant = await client.create_assistant(
        name="Document Assistant",
        system_prompt="You are a helpful document analysis assistant"
    )
    
    # Upload a document to the assistant
    document = await client.upload_document_to_assistant(
        assistant.assistant_id,
        "my_document.pdf"
    )
    
    # Wait for the document to be indexed
    print("Waiting for document to be indexed...")
    while True:
        status = await client.get_document_status(document.document_id)
        if status.status == "indexed":
            print("Document indexed successfully!")
            break
        elif status.status == "failed":
            print(f"Indexing failed: {status.status_message}")
            return
        time.sleep(2)
    
    # Create a thread
    thread = await client.create_thread(assistant.assistant_id)
    
    # Ask a question about the document and stream the response
    async for chunk in await client.add_message(
        thread_id=thread.thread_id,
        content="What are the key points in the document?",
        stream=True
    ):
        if chunk['type'] == 'content_streaming':
            print(chunk['content'], end='', flush=True)
        elif chunk['type'] == 'message_complete':
            break

if __name__ == "__main__":
    asyncio.run(main())
